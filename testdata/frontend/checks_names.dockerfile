# StageNameCasing, FromAsCasing, DuplicateStageName, ReservedStageName, ConsistentInstructionCasing
FROM alpine AS Upper
from alpine AS lower
FROM alpine as mixed
FROM alpine AS mixed
FROM alpine AS scratch
FROM alpine AS context
Run x
COPY a /
