import CXDP
import LinuxSystem

/// Waits until every XDP program that runs now has returned and its redirects are flushed: an RCU grace period, some 10 ms.
///
/// The kernel ends each update of a map of maps with one, so that "all non-sleepable programs that could be running use the
/// new map value" (kernel/bpf/syscall.c, maybe_wait_bpf_programs; 4.20 and newer). `membarrier(MEMBARRIER_CMD_GLOBAL)` has
/// none where CPUs are nohz_full, nor where one CPU is online (kernel/sched/membarrier.c).
public final class ProgramBarrier: Sendable {
  private let maps: OwnedDescriptor
  private let map: OwnedDescriptor

  /// Needs what loading a program needs.
  public init() throws(ProgramError) {
    let map = OwnedDescriptor(
      owning: try checkBPF("make map", "barrier") { bpf_map_create(BPF_MAP_TYPE_ARRAY, "barrier", 4, 4, 1, nil) })
    let raw = map.rawValue
    maps = OwnedDescriptor(owning: try checkBPF("make map of maps", "barrier") { sluice_map_of_maps_create("barrier", raw) })
    self.map = map
  }

  /// Several threads at once may wait.
  public func wait() {
    var (key, value) = (UInt32(0), map.rawValue)
    let result = bpf_map_update_elem(maps.rawValue, &key, &value, 0)
    precondition(result == 0, "a map of maps takes a map like the one that it was made with: \(result)")
  }
}
