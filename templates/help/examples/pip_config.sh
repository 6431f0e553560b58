pip config set global.index-url {{ at.index("group") }}
