# The broker as an image: built with the scripts that everybody builds with, run as nobody on a slim Debian.
# Mount the policy at /etc/tollgate/policy.yaml. In a container it must listen on 0.0.0.0, and then it asks for `tenants:` (data)
# and `admin.token` (admin); the ledger is kept in the volume /var/lib/tollgate; the health check reads the token from TOLLGATE_ADMIN_TOKEN.
FROM swift:6.3-bookworm AS build
WORKDIR /src
COPY scripts/setup scripts/setup
RUN scripts/setup --build
COPY Package.swift Package.resolved* ./
COPY scripts/build-release scripts/build-release
COPY Profiles Profiles
COPY Sources Sources
COPY Tests Tests
RUN scripts/build-release /out/tollgate
# Empty: the directory of the ledger, which the image's user must own.
WORKDIR /out/state

FROM debian:12-slim
WORKDIR /usr/share/tollgate
COPY scripts/setup scripts/setup
RUN --mount=type=tmpfs,target=/var/lib/apt/lists --mount=type=tmpfs,target=/var/cache/apt scripts/setup --runtime
COPY policies policies
COPY --from=build /out/tollgate /usr/local/bin/tollgate
COPY --from=build --chown=65532:65532 /out/state /var/lib/tollgate
USER 65532:65532
WORKDIR /var/lib/tollgate
VOLUME /var/lib/tollgate
EXPOSE 4141 4142
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["tollgate", "status", "--admin", "127.0.0.1:4142"]
ENTRYPOINT ["tollgate"]
CMD ["serve", "--policy", "/etc/tollgate/policy.yaml"]
