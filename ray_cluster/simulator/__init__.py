"""The pool in virtual time: the scheduler's own lanes, roster and autoscaler over a trace, beside three other rules."""
