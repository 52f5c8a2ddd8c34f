# ConsistentInstructionCasing: here lower case is the rule.
from alpine as a
run x
COPY a /
Add b /
