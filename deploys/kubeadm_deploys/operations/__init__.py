"""Operations that pyinfra does not have, one module for each tool.

Our own operations are named after their result, by a participle such as ``joined`` or ``installed``, or after
the one thing that they put in place, such as ``release.tarball``. Every operation reads at execute time, does
nothing if nothing differs, and counts as a change only if it changes something.
"""
