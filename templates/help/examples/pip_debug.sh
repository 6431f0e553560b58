pip debug
pip config debug
