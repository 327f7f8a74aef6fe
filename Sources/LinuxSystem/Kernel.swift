import CLinuxShims
import Glibc

/// The running kernel.
public enum Kernel {
  /// `uname -r`: `6.1.0-28-amd64`.
  public static func release() -> String {
    var name = utsname()
    uname(&name)
    return withUnsafeBytes(of: name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  /// Waits until every XDP program that runs now has returned and its redirects are flushed: an RCU grace period, some
  /// 10 ms (`membarrier(MEMBARRIER_CMD_GLOBAL)` is `synchronize_rcu`, kernel/sched/membarrier.c; 4.3 and newer).
  public static func waitForGracePeriod() {
    // ENOSYS needs a kernel without the call, EINVAL one with nohz_full CPUs: the caller's next steps then wait less
    // surely.
    _ = sluice_membarrier_global()
  }
}
