pip install{{ at.trusted }} --requirement requirements.txt
