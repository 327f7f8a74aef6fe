import Synchronization

/// What a check found.
public enum HealthStatus: Hashable, Sendable {
  case ok
  /// Why not, in words for an operator; no secrets.
  case failed(String)
}

/// Named checks behind `/healthz` and `/readyz`. Any thread.
///
/// Liveness: a failure means that only a restart helps. Readiness: don't send work now.
public final class HealthRegistry: Sendable {
  public enum Kind: String, Sendable {
    case liveness, readiness
  }

  /// The answer to a probe.
  public struct Report: Sendable {
    public let isHealthy: Bool
    /// The checks by name, sorted.
    public let checks: [(name: String, status: HealthStatus)]
    /// 200 or 503.
    public var httpStatus: Int { isHealthy ? 200 : 503 }
  }

  private struct Check {
    var kind: Kind
    var run: @Sendable () async -> HealthStatus
    /// Probes at the same time share one run; one that hangs is not started again until it has come back.
    var running: Running?
  }
  private struct Running {
    let task: Task<HealthStatus, Never>
    let since: ContinuousClock.Instant
  }
  private let checks = Mutex<[String: Check]>([:])
  private let timeout: Duration

  /// A check that takes longer than `timeout` has failed.
  public init(timeout: Duration = .seconds(2)) { self.timeout = timeout }

  /// Adds a check, or replaces the one of that name.
  public func add(_ name: String, _ kind: Kind, _ check: @escaping @Sendable () async -> HealthStatus) {
    checks.withLock { $0[name] = Check(kind: kind, run: check) }
  }

  public func remove(_ name: String) {
    checks.withLock { _ = $0.removeValue(forKey: name) }
  }

  /// Runs the checks of a kind, side by side.
  public func report(_ kind: Kind) async -> Report {
    let names = checks.withLock { $0.filter { $0.value.kind == kind }.map(\.key) }.sorted()
    let results = await withTaskGroup(of: (String, HealthStatus).self) { group in
      for name in names { group.addTask { (name, await self.run(name)) } }
      return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
    }
    let ordered = names.map { ($0, results[$0] ?? .ok) }
    return Report(isHealthy: ordered.allSatisfy { $0.1 == .ok }, checks: ordered)
  }

  /// The check's run under way, or one that begins now; nil: it hangs.
  private func task(_ name: String) -> Task<HealthStatus, Never>? {
    let now = ContinuousClock.now
    return checks.withLock { checks in
      guard let check = checks[name] else { return nil }
      if let running = check.running { return now - running.since < timeout ? running.task : nil }
      let task = Task {
        let status = await check.run()
        self.checks.withLock { $0[name]?.running = nil }
        return status
      }
      checks[name]?.running = Running(task: task, since: now)
      return task
    }
  }

  private func run(_ name: String) async -> HealthStatus {
    guard let task = task(name) else { return .failed("the check has not come back since an earlier probe") }
    // Not a task group: it would wait for a check that ignores its cancellation.
    let (results, continuation) = AsyncStream<HealthStatus>.makeStream(bufferingPolicy: .bufferingOldest(1))
    let answer = Task { continuation.yield(await task.value) }
    let clock = Task { [timeout] in
      guard (try? await Task.sleep(for: timeout)) != nil else { return }
      continuation.yield(.failed("no answer within \(timeout)"))
      task.cancel()
    }
    defer {
      answer.cancel()
      clock.cancel()
    }
    for await status in results { return status }
    return .failed("the probe was cancelled")
  }
}

extension HealthRegistry.Report {
  /// `{"status":"ok","checks":{"database":{"status":"failed","reason":"…"}}}`
  public var json: [UInt8] {
    var text = "{\"status\":\"\(isHealthy ? "ok" : "failed")\",\"checks\":{"
    for (index, check) in checks.enumerated() {
      if index > 0 { text += "," }
      text += Self.quoted(check.name) + ":"
      switch check.status {
      case .ok: text += "{\"status\":\"ok\"}"
      case .failed(let reason): text += "{\"status\":\"failed\",\"reason\":\(Self.quoted(reason))}"
      }
    }
    return Array((text + "}}").utf8)
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
