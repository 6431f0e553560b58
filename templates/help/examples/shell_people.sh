flask users list
flask users reset-password alice
flask users block alice
flask tokens list alice
flask tokens revoke 1
