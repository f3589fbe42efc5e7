"""What all tests share: a process that can be interrupted, whatever started them, and how long tests take."""

import signal

pytest_plugins = ["tests.quick"]

# What runs in the background of a script ignores Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
