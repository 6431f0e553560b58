pypi-registry backup create /backups/registry.tar
pypi-registry backup verify /backups/registry.tar
pypi-registry backup restore /backups/registry.tar
