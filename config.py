# pyinfra reads this file from the folder it is started in, before anything else.
# A cluster is made of all its machines: when one fails the run stops instead of carrying on without it.
FAIL_PERCENT = 0
