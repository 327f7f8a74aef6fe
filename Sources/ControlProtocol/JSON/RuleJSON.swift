// Matches and what the analysis says about rules, as the API answers and the command prints them.

public import Rules

extension Match {
  /// The form that `Codable` has: only fields with a condition.
  public var json: JSONValue {
    var members: [String: JSONValue] = [:]
    for form in conditions {
      let elements = JSONValue.strings(form.elements)
      members[form.field] = form.isNegated ? ["not": elements] : elements
    }
    return .object(members)
  }
}

extension RuleFinding {
  public var json: JSONValue {
    [
      "kind": .string(kind.rawValue), "rule": .string(rule), "chain": .optional(chain), "position": .count(index), "by": .strings(by),
      "packet": packet?.match.json ?? .null, "message": .string(message),
    ]
  }
}

extension RuleSetAnalysis {
  public var json: JSONValue {
    [
      "rules": .count(ruleCount), "complete": .bool(isComplete), "undecided": .count(undecidedCount),
      "findings": .array(findings.map(\.json)),
    ]
  }
}

extension ValidationIssue {
  public var json: JSONValue {
    [
      "severity": .string(severity.rawValue), "code": .string(code.rawValue), "path": .string(path),
      "message": .string(message),
    ]
  }
}
