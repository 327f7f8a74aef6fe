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
    case .leave: UInt8(SLUICE_ACTION_RESUME.rawValue)
    case .jump, .goTo: preconditionFailure("a flattened rule set has no jumps")
    }
  }
}

extension MalformedPolicy {
  /// For `malformed_action[index]`; what is no reason has the policy's fate.
  func abiAction(at index: Int) -> UInt8 {
    (MalformedReason(index: index).map(fate(for:)) ?? fate).abiAction
  }
}
