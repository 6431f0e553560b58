flask backup create /backups/registry.tar
flask backup verify /backups/registry.tar
flask backup restore /backups/registry.tar
