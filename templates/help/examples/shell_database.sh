flask database check
flask database upgrade
