import CLinuxShims
import Glibc

/// A Linux capability (capabilities(7)) that Sluice can need.
public enum Capability: Int, Hashable, Sendable, CaseIterable {
  case netAdmin = 12
  case netRaw = 13
  case ipcLock = 14
  case sysAdmin = 21
  case sysResource = 24
  case perfmon = 38
  case bpf = 39

  /// As it is written in unit files: `CAP_NET_ADMIN`.
  public var name: String {
    switch self {
    case .netAdmin: "CAP_NET_ADMIN"
    case .netRaw: "CAP_NET_RAW"
    case .ipcLock: "CAP_IPC_LOCK"
    case .sysAdmin: "CAP_SYS_ADMIN"
    case .sysResource: "CAP_SYS_RESOURCE"
    case .perfmon: "CAP_PERFMON"
    case .bpf: "CAP_BPF"
    }
  }
}

/// A set of capabilities.
public struct Capabilities: Hashable, Sendable {
  /// Bit n is capability number n of `linux/capability.h`.
  public let bits: UInt64

  public init(bits: UInt64) { self.bits = bits }

  /// What the calling thread may do now (capget(2)).
  public static func effective() throws(SystemError) -> Capabilities {
    var bits: UInt64 = 0
    try check("capget") { sluice_capabilities_effective(&bits) }
    return Capabilities(bits: bits)
  }

  public func has(_ capability: Capability) -> Bool { bits & (1 << UInt64(capability.rawValue)) != 0 }

  /// Those of `needed` that are not in the set, in their order.
  public func missing(of needed: [Capability]) -> [Capability] { needed.filter { !has($0) } }
}
