# The image of the agent: docker build -t streamspace/k8s-agent:v2.0 .

FROM denoland/deno:2.9.6 AS build
WORKDIR /src
COPY . .
# The executable can export traces only if it is compiled with --build-arg OTEL_DENO=true.
ARG OTEL_DENO
RUN deno task compile

# Contains the glibc that Deno's runtime needs, and no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
# The probes of k8s/deployment.yaml run `sh -c "pgrep -x k8s-agent"`. These two static programs are the only ones besides the agent.
COPY --from=busybox:1.37.0-musl /bin/sh /bin/pgrep /bin/
COPY --from=build /src/k8s-agent /usr/local/bin/k8s-agent
# Numeric, because the kubelet cannot verify runAsNonRoot for a user name.
USER 65532:65532
# Without a path, because busybox's `pgrep -x` compares with argv[0].
ENTRYPOINT ["k8s-agent"]
