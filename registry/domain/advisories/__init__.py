"""Security advisories about packages of the public index, from OSV's export, and which packages here they affect.

OSV schema 1.7 (ossf.github.io/osv-schema). Import the modules by name.
"""
