# spec 73, 74, 81, 82, 114, 115
FROM alpine
ARG X=1
COPY <<A <<-"B" /o/
$X \$X \${X} "q"
A
	tab $X
		two
B
COPY a <<C /o/
C
RUN <<E
set -e
echo $X
E
RUN <<'E'
echo $X
E
RUN <<-E
	#!/usr/bin/env python3
	print("$0")
	E
RUN python3 <<E && cat <<F
print(1)
E
two
F
SHELL ["/bin/ash", "-c"]
RUN <<E
#!/bin/sh
E
