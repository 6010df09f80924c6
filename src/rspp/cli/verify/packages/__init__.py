"""What a project is made of: what it declares, what its lock pins, what is installed, under which licences, with which known faults.

versions, markers   how Python orders versions, and where a pin applies
declared            what pyproject.toml asks for
locks, npm          what a lock pins, and what is wrong with a line of it
environment         what is installed beside the program that looks
records             what a package's own record says of its files
licences            what a licence is called, and whether it is allowed
settings            what the project says about all this itself, in `verify.yaml`
"""
