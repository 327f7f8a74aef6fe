import CSluiceABI
import Packets
import Rules

extension Fate {
  var abiAction: UInt8 {
    switch self {
    case .pass: UInt8(SLUICE_ACTION_PASS.rawValue)
    case .drop: UInt8(SLUICE_ACTION_DROP.rawValue)
    }
  }
}

extension Action {
  /// Its `enum sluice_action`.
  public var abiAction: UInt8 {
    switch self {
    case .pass: UInt8(SLUICE_ACTION_PASS.rawValue)
    case .drop: UInt8(SLUICE_ACTION_DROP.rawValue)
    case .count: UInt8(SLUICE_ACTION_COUNT.rawValue)
    case .capture: UInt8(SLUICE_ACTION_CAPTURE.rawValue)
    case .redirect: UInt8(SLUICE_ACTION_REDIRECT.rawValue)
    }
  }
}

extension MalformedPolicy {
  /// For `malformed_action[index]`; what is no reason has the policy's fate.
  func abiAction(at index: Int) -> UInt8 {
    (MalformedReason(index: index).map(fate(for:)) ?? fate).abiAction
  }
}

extension IPFamily {
  var abiFamily: UInt8 {
    switch self {
    case .ipv4: UInt8(SLUICE_FAMILY_IPV4)
    case .ipv6: UInt8(SLUICE_FAMILY_IPV6)
    }
  }
}

/// The two words in which an entry keeps an address or a mask: bytes as in the packet, read as this machine's numbers.
func abiWords(family: IPFamily, _ value: UInt128) -> (UInt64, UInt64) {
  switch family {
  case .ipv4:
    // The four bytes come first in memory.
    (UInt64(bigEndian: UInt64(truncatingIfNeeded: value) << 32), 0)
  case .ipv6:
    (UInt64(bigEndian: UInt64(truncatingIfNeeded: value >> 64)), UInt64(bigEndian: UInt64(truncatingIfNeeded: value)))
  }
}
