import Synchronization

/// Slows down guessing. Failures are counted for an account from an address, for an account from anywhere, and for an
/// address with any account; whichever has had too many waits, and each further failure doubles its wait.
///
/// The account's own limit is higher and its longest wait shorter than the pair's: a stranger who guesses from many
/// addresses can delay the owner, not keep him out for long.
///
/// Per process and in memory. The number of remembered keys is bounded; when it is reached, those that failed longest
/// ago are forgotten first.
public final class LoginThrottle: Sendable {
  /// What is counted; the raw value is the metric's label.
  public enum Subject: String, Sendable, Hashable, CaseIterable {
    case pair, account, address
  }

  /// When waiting begins and how it grows.
  public struct Policy: Sendable, Hashable {
    /// Failures without a wait, less one: the wait begins with this one.
    public var failuresMax: Int
    public var firstWait: Duration
    public var longestWait: Duration

    public init(failuresMax: Int, firstWait: Duration, longestWait: Duration) {
      precondition(failuresMax > 0 && firstWait > .zero && longestWait >= firstWait, "a wait is a time and grows")
      self.failuresMax = failuresMax
      self.firstWait = firstWait
      self.longestWait = longestWait
    }

    /// After this many failures in a row.
    func wait(failures: Int) -> Duration {
      guard failures >= failuresMax else { return .zero }
      // Beyond 2^20 every wait is the longest.
      return min(firstWait * (1 << min(failures - failuresMax, 20)), longestWait)
    }
  }

  public static let standard: [Subject: Policy] = [
    .pair: Policy(failuresMax: APILimits.loginFailuresMax, firstWait: .seconds(30), longestWait: .seconds(3600)),
    .account: Policy(failuresMax: 30, firstWait: .seconds(10), longestWait: .seconds(300)),
    .address: Policy(failuresMax: 100, firstWait: .seconds(30), longestWait: .seconds(3600)),
  ]

  private struct Key: Hashable {
    let subject: Subject
    let account: String
    let address: String
  }
  private struct Entry {
    var failures = 0
    var lastAt: ContinuousClock.Instant
    var lockedUntil: ContinuousClock.Instant
  }
  private let entries = Mutex<[Key: Entry]>([:])
  private let policies: [Subject: Policy]
  private let memory: Duration
  private let recordsMax: Int

  /// - Parameters:
  ///   - memory: how long after the last failure it counts.
  ///   - recordsMax: keys remembered.
  public init(
    policies: [Subject: Policy] = LoginThrottle.standard, memory: Duration = .seconds(APILimits.loginMemorySeconds),
    recordsMax: Int = APILimits.loginRecordsMax
  ) {
    precondition(Set(policies.keys) == Set(Subject.allCases) && recordsMax > 3, "everything is counted")
    self.policies = policies
    self.memory = memory
    self.recordsMax = recordsMax
  }

  /// Addresses of IPv6 count by their network: a host has a whole one to itself.
  private static func keys(_ account: String, _ address: String) -> [Key] {
    let (account, address) = (account.lowercased(), RateLimiter.network(of: address))
    let own = Key(subject: .address, account: "", address: address)
    // Guesses at nobody's account, as with a reset token, make nobody wait but the address.
    if account.isEmpty { return [own] }
    return [
      Key(subject: .pair, account: account, address: address), Key(subject: .account, account: account, address: ""), own,
    ]
  }

  /// How long this account has to wait at this address; nil if it may try.
  public func wait(account: String, address: String, now: ContinuousClock.Instant = .now) -> Duration? {
    entries.withLock { entries in
      let waits = Self.keys(account, address).compactMap { entries[$0].map { $0.lockedUntil - now } }
      return waits.max().flatMap { $0 > .zero ? $0 : nil }
    }
  }

  /// Remembers a failure; tells what has to wait from now on, and how long.
  @discardableResult
  public func failed(
    account: String, address: String, now: ContinuousClock.Instant = .now
  ) -> [(subject: Subject, wait: Duration)] {
    entries.withLock { entries in
      var locks: [(subject: Subject, wait: Duration)] = []
      for key in Self.keys(account, address) {
        if entries[key] == nil, entries.count >= recordsMax { Self.forget(in: &entries, now: now, memory: memory) }
        var entry = entries[key] ?? Entry(lastAt: now, lockedUntil: now)
        if now - entry.lastAt >= memory { entry = Entry(lastAt: now, lockedUntil: now) }
        entry.failures += 1
        entry.lastAt = now
        let wait = policies[key.subject]?.wait(failures: entry.failures) ?? .zero
        if wait > .zero {
          entry.lockedUntil = now + wait
          locks.append((key.subject, wait))
        }
        entries[key] = entry
      }
      return locks
    }
  }

  /// Forgets the failures of an account that has signed in; those of the address stay, so that one good account does
  /// not buy an attacker more guesses at others.
  public func succeeded(account: String, address: String) {
    entries.withLock { entries in
      for key in Self.keys(account, address) where key.subject != .address { entries[key] = nil }
    }
  }

  /// Keys that are remembered.
  var recordCount: Int { entries.withLock { $0.count } }

  /// Keys that wait, for metrics.
  func lockedCounts(now: ContinuousClock.Instant = .now) -> [Subject: Int] {
    entries.withLock { entries in
      entries.reduce(into: [:]) { counts, entry in
        if entry.value.lockedUntil > now { counts[entry.key.subject, default: 0] += 1 }
      }
    }
  }

  /// Makes room: what is too old to count, then the half that failed longest ago.
  private static func forget(in entries: inout [Key: Entry], now: ContinuousClock.Instant, memory: Duration) {
    let limit = entries.count
    entries = entries.filter { now - $0.value.lastAt < memory }
    guard entries.count >= limit else { return }
    for (key, _) in entries.sorted(by: { $0.value.lastAt < $1.value.lastAt }).prefix(limit / 2) { entries[key] = nil }
  }
}
