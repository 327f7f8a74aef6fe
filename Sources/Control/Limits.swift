import CSluiceABI
import LinuxSystem
import Rules
import XDPPrograms

extension Controller {
  /// The daemon's limits by the names that errors use.
  public static let limits: [String: UInt64] = Limits.published.merging([
    "captures_max": UInt64(CaptureTable.runningMax),
    "capture_memory_bytes_max": UInt64(CaptureMemory.byteCountMax),
    "event_streams_max": UInt64(EventBus.subscribersMax),
    "event_ring_max": UInt64(EventBus.ringMax),
    "wire_memory_bytes_max": UInt64(WireMemory.byteCountMax),
    "wires_max": UInt64(WireOptions.wiresMax),
    "set_change_elements_max": UInt64(SetChange.callElementCountMax),
    "queues_max": UInt64(SLUICE_QUEUES_MAX),
    "vlan_tags_max": UInt64(SLUICE_VLAN_TAGS_MAX),
    "ipv6_extensions_max": UInt64(SLUICE_IPV6_EXTENSIONS_MAX),
  ]) { limit, _ in limit }

  /// What the kernel and the process's capabilities allow: `yes`, or why not.
  public static func kernelFeatures() -> [String: String] {
    var features = ["xdp_frags": ProgramLoader.kernelHasFrags ? "yes" : "no: needs Linux 5.18"]
    let effective = try? Capabilities.effective()
    for capability in [Capability.bpf, .perfmon, .netAdmin, .netRaw, .ipcLock] {
      let name = capability.name.lowercased()
      features[name] = effective?.has(capability) == true ? "yes" : "no: the process lacks \(capability.name)"
    }
    return features
  }
}
