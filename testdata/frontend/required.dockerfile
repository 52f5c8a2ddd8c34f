# spec 21
FROM alpine
ENV A="${TOKEN_URL:?set the address}"
ENV B=${OTHER?}
