# The agent as an image: docker build -t streamspace/k8s-agent:v2.0 .

FROM denoland/deno:2.9.6 AS build
WORKDIR /src
COPY . .
# An executable exports traces only if it was compiled with this: --build-arg OTEL_DENO=true
ARG OTEL_DENO
RUN deno task compile

# glibc is what Deno's runtime needs; there is no package manager in it.
FROM gcr.io/distroless/cc-debian12:nonroot
# The probes of k8s/deployment.yaml run `sh -c "pgrep -x k8s-agent"`. These two are static, and there is no other program.
COPY --from=busybox:1.37.0-musl /bin/sh /bin/pgrep /bin/
COPY --from=build /src/k8s-agent /usr/local/bin/k8s-agent
# A number, as the kubelet cannot tell that a name is not root.
USER 65532:65532
# No path: busybox's `pgrep -x` compares with the name by which a program was called.
ENTRYPOINT ["k8s-agent"]
