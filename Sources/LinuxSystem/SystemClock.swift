import Glibc

/// The kernel's clocks in nanoseconds. Any thread; no system call on common hardware (vDSO).
public enum SystemClock {
  /// CLOCK_MONOTONIC: what `bpf_ktime_get_ns` reads.
  public static func monotonicNanoseconds() -> UInt64 { read(CLOCK_MONOTONIC) }

  /// CLOCK_REALTIME: since 1970-01-01 UTC.
  public static func realtimeNanoseconds() -> UInt64 { read(CLOCK_REALTIME) }

  /// What to add to a monotonic time to get wall time, now; off by less than the time between two reads.
  public static func realtimeOffsetNanoseconds() -> Int64 {
    var best: (width: UInt64, offset: Int64) = (.max, 0)
    for _ in 0..<3 {
      let before = monotonicNanoseconds()
      let wall = realtimeNanoseconds()
      let after = monotonicNanoseconds()
      let width = after &- before
      if width < best.width { best = (width, Int64(bitPattern: wall &- (before &+ width / 2))) }
    }
    return best.offset
  }

  /// Blocks the thread; shorter where a signal comes.
  public static func pause(nanoseconds: UInt64) {
    var time = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
    nanosleep(&time, nil)
  }

  private static func read(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }
}
