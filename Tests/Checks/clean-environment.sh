# Sourced: an installed Sluice's settings, on this machine or in the caller's environment, are nothing to tests, demo and
# benchmarks.
for name in $(compgen -e); do
  case $name in
    SLUICE_TEST_* | HTTP_PROXY) ;;
    SLUICE_* | DB_* | HTTP_* | HTTP2_* | METRICS_* | GRPC_* | RELEASE_MODE) unset "$name" ;;
  esac
done
unset name
export SLUICE_CONFIG=/dev/null
