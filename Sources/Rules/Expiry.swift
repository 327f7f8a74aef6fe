import JSONValues
import Packets

/// When a rule, or an element of a set, ends.
public enum Expiry: Hashable, Sendable {
  /// Milliseconds since 1970, UTC; in the years 0 to 9999.
  case at(unixMilliseconds: Int64)
  /// So long after it was accepted, 1 to ``Limits/ttlSecondsMax``: whoever accepts the rule set makes a moment of it, with
  /// ``RuleSet/fixExpiry(atUnixMilliseconds:)``.
  case after(seconds: Int64)

  /// As in a rule's line: a moment of RFC 3339, or a number with `s`, `m`, `h` or `d`.
  public init(parsing text: String) throws(ValueTextError) {
    if let moment = RFC3339.unixMilliseconds(parsing: text) {
      self = .at(unixMilliseconds: moment)
      return
    }
    func refuse(_ reason: String) -> ValueTextError {
      ValueTextError(
        expected: "an end", text: text, reason: reason,
        suggestion: "2026-11-21T15:38:47Z, or 90m from when it is accepted")
    }
    let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
    guard let last = text.last, let unit = units[last] else {
      throw refuse("it is neither a moment of RFC 3339 nor a number with s, m, h or d")
    }
    let digits = text.dropLast()
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int64(digits) else {
      throw refuse("before \(last) stands a whole number")
    }
    let (seconds, isTooMuch) = number.multipliedReportingOverflow(by: unit)
    let expiry = Expiry.after(seconds: isTooMuch ? .max : seconds)
    if let fault = expiry.fault { throw refuse(fault) }
    self = expiry
  }

  /// Of the two fields of a rule's JSON form, of which one at most is there; nil where none is.
  public init?(expiresAt text: String?, ttlSeconds seconds: Int64?) throws(ValueTextError) {
    switch (text, seconds) {
    case (nil, nil): return nil
    case (let text?, let seconds?):
      throw ValueTextError(
        expected: "an end", text: "\(text), \(seconds)", reason: "there is expires_at or ttl_seconds, not both")
    case (let text?, nil):
      guard let moment = RFC3339.unixMilliseconds(parsing: text) else {
        throw ValueTextError(
          expected: "a moment", text: text, reason: "it isn't one of RFC 3339", suggestion: "2026-11-21T15:38:47Z")
      }
      self = .at(unixMilliseconds: moment)
    case (nil, let seconds?):
      self = .after(seconds: seconds)
      if let fault {
        throw ValueTextError(expected: "seconds to live", text: "\(seconds)", reason: fault)
      }
    }
  }

  /// As ``init(parsing:)`` reads it.
  public var text: String {
    switch self {
    case .at(let moment): RFC3339.text(unixMilliseconds: moment)
    case .after(let seconds): "\(seconds)s"
    }
  }

  /// Nil: as it should be.
  var fault: String? {
    switch self {
    case .at(let moment) where !RFC3339.range.contains(moment): "an end lies in the years 0 to 9999"
    case .after(let seconds) where !(1...Int64(Limits.ttlSecondsMax)).contains(seconds):
      "a time to live is 1 to \(Limits.ttlSecondsMax) seconds"
    case .at, .after: nil
    }
  }
}

extension Expiry {
  /// A time to live that begins now as a moment; what isn't valid stays as it is.
  public func fixed(atUnixMilliseconds now: Int64) -> Expiry {
    guard fault == nil, case .after(let seconds) = self else { return self }
    return .at(unixMilliseconds: min(now + seconds * 1000, RFC3339.range.upperBound))
  }

  /// Milliseconds since 1970; nil: not fixed yet.
  public var unixMilliseconds: Int64? {
    if case .at(let moment) = self { moment } else { nil }
  }

  /// What ends at a moment isn't there at it.
  func hasEnded(atUnixMilliseconds now: Int64) -> Bool {
    if case .at(let moment) = self { moment <= now } else { false }
  }
}

extension Rule {
  /// Milliseconds since 1970; nil: never, or not fixed yet.
  public var expiresAtUnixMilliseconds: Int64? { expiry?.unixMilliseconds }

  public func hasExpired(atUnixMilliseconds now: Int64) -> Bool { expiry?.hasEnded(atUnixMilliseconds: now) ?? false }
}

extension RuleSet {
  /// Makes moments of times to live that begin now; what isn't valid stays as it is. Called by whoever accepts the
  /// rule set, once.
  public mutating func fixExpiry(atUnixMilliseconds now: Int64) {
    func fix(_ rules: inout RuleList) {
      // What stays as it is stays shared with copies.
      guard rules.firstIndex(where: { $0.expiry != nil }) != nil else { return }
      for (index, rule) in rules.enumerated() {
        guard let expiry = rule.expiry, expiry != expiry.fixed(atUnixMilliseconds: now) else { continue }
        rules[index].expiry = expiry.fixed(atUnixMilliseconds: now)
      }
    }
    fix(&rules)
    for index in chains.indices { fix(&chains[index].rules) }
    for index in sets.indices { sets[index].fixExpiry(atUnixMilliseconds: now) }
  }

  /// What is left at a moment; the rules, also of chains, that have expired by then; how many elements of sets have.
  public func expiring(atUnixMilliseconds now: Int64) -> (left: RuleSet, expired: [Rule], elementCount: Int) {
    let expired = Array(allRules.lazy.filter { $0.hasExpired(atUnixMilliseconds: now) })
    var left = self
    if !expired.isEmpty {
      left.rules.removeAll { $0.hasExpired(atUnixMilliseconds: now) }
      for index in left.chains.indices {
        left.chains[index].rules.removeAll { $0.hasExpired(atUnixMilliseconds: now) }
      }
    }
    var elementCount = 0
    for index in left.sets.indices { elementCount += left.sets[index].removeEnded(atUnixMilliseconds: now) }
    return (left, expired, elementCount)
  }

  /// When the next of its rules ends, in milliseconds since 1970, and how many will; nil: none.
  public var nextExpiry: (unixMilliseconds: Int64, ruleCount: Int)? {
    var count = 0
    var next = Int64.max
    for list in [rules] + chains.map(\.rules) {
      for rule in list {
        guard let moment = rule.expiresAtUnixMilliseconds else { continue }
        count += 1
        next = min(next, moment)
      }
    }
    return count == 0 ? nil : (next, count)
  }

  /// The same of the elements of its sets.
  public var nextElementEnd: (unixMilliseconds: Int64, elementCount: Int)? {
    let ends = sets.compactMap(\.nextEnd)
    guard let next = ends.map(\.unixMilliseconds).min() else { return nil }
    return (next, ends.reduce(0) { $0 + $1.count })
  }
}
