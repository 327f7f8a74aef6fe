/// Something wrong or doubtful in a rule set: where, what, and how to mend it.
public struct ValidationIssue: Hashable, Sendable, CustomStringConvertible {
  public enum Severity: String, Hashable, Sendable, Codable {
    /// The rule set can't be applied.
    case error
    /// It can, and probably isn't what was meant.
    case warning
  }

  /// Stable names for programs.
  public enum Code: String, Hashable, Sendable, Codable, CaseIterable {
    case invalidName = "invalid_name"
    case reservedName = "reserved_name"
    case duplicateName = "duplicate_name"
    case invalidComment = "invalid_comment"
    case tooManyRules = "too_many_rules"
    case tooManyCountRules = "too_many_count_rules"
    case tooManyElements = "too_many_elements"
    case tooManyRedirectTargets = "too_many_redirect_targets"
    case portsWithoutProtocol = "ports_without_protocol"
    case portsOfPortlessProtocol = "ports_of_portless_protocol"
    case noCommonFamily = "no_common_family"
    case numberOutOfRange = "number_out_of_range"
    case invalidInterfaceName = "invalid_interface_name"
    case invalidTag = "invalid_tag"
    case invalidOwner = "invalid_owner"
    case invalidExpiry = "invalid_expiry"
    case unknownChain = "unknown_chain"
    case chainCycle = "chain_cycle"
    case chainTooDeep = "chain_too_deep"
    case tooManyChains = "too_many_chains"
    case tooManyFlattenedRules = "too_many_flattened_rules"
    case unknownSet = "unknown_set"
    case wrongSetType = "wrong_set_type"
    case tooManySets = "too_many_sets"
    case tooManySetElements = "too_many_set_elements"
    case tooManyCountedElements = "too_many_counted_elements"
    case countersOfPorts = "counters_of_ports"
    // Warnings.
    case duplicateElement = "duplicate_element"
    case deadPrefix = "dead_prefix"
    case otherFamilysProtocol = "other_familys_protocol"
    case protocolNeverShown = "protocol_never_shown"
    case unreachableRule = "unreachable_rule"
    case unreachableChain = "unreachable_chain"

    public var severity: Severity {
      switch self {
      case .duplicateElement, .deadPrefix, .otherFamilysProtocol, .protocolNeverShown, .unreachableRule,
        .unreachableChain:
        .warning
      default: .error
      }
    }
  }

  public var code: Code
  /// Of the JSON form: `rules[3].match.destination_ports[0]`; empty for the rule set as a whole.
  public var path: String
  /// The cause and its remedy, a sentence without a full stop.
  public var message: String

  public var severity: Severity { code.severity }

  public init(code: Code, path: String, message: String) {
    self.code = code
    self.path = path
    self.message = message
  }

  public var description: String { "\(severity): \(path.isEmpty ? "rule set" : path): \(message)" }
}

/// A rule set that can't be applied, with what is wrong in it.
public struct InvalidRuleSet: Error, Hashable, Sendable, CustomStringConvertible {
  /// At least one, all of severity error.
  public let issues: [ValidationIssue]

  public var description: String { issues.map(\.description).joined(separator: "\n") }
}

/// Collects issues up to ``Limits/issuesMax`` of each severity, so that warnings never crowd out an error.
struct IssueCollector {
  private(set) var issues: [ValidationIssue] = []
  private var counts: [ValidationIssue.Severity: Int] = [:]

  mutating func add(_ code: ValidationIssue.Code, _ path: String, _ message: @autoclosure () -> String) {
    guard counts[code.severity, default: 0] < Limits.issuesMax else { return }
    counts[code.severity, default: 0] += 1
    issues.append(ValidationIssue(code: code, path: path, message: message()))
  }
}
