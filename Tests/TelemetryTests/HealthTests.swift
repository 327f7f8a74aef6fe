import Foundation
import Synchronization
import Testing

@testable import Telemetry

@Suite("Health checks", .timeLimit(.minutes(1)))
struct HealthTests {
  private func text(_ report: HealthRegistry.Report) -> String { String(decoding: report.json, as: UTF8.self) }

  @Test("Without checks everything is well")
  func empty() async {
    let report = await HealthRegistry().report(.readiness)
    #expect(report.httpStatus == 200)
    #expect(text(report) == #"{"status":"ok","checks":{}}"#)
  }

  @Test("One failed check fails its kind, and only its kind; the body says which and why")
  func kinds() async throws {
    let health = HealthRegistry()
    health.add("database", .readiness) { .failed("no \"connection\"\n\u{1}") }
    health.add("bpf", .readiness) { .ok }
    health.add("loop", .liveness) { .ok }
    let readiness = await health.report(.readiness)
    #expect(readiness.httpStatus == 503)
    #expect(
      text(readiness) == #"{"status":"failed","checks":{"bpf":{"status":"ok"},"#
        + #""database":{"status":"failed","reason":"no \"connection\"\u000a\u0001"}}}"#)
    #expect(try JSONSerialization.jsonObject(with: Data(readiness.json)) is [String: Any])
    #expect(await health.report(.liveness).isHealthy)
    health.remove("database")
    #expect(await health.report(.readiness).isHealthy)
  }

  @Test("A check that hangs fails its probe in time and is not started twice")
  func hanging() async {
    let health = HealthRegistry(timeout: .milliseconds(20))
    let (gate, open) = AsyncStream<Void>.makeStream()
    let starts = Counter()
    health.add("stuck", .readiness) {
      starts.increment()
      // Ignores cancellation, as a blocking call would.
      await Task { for await _ in gate {} }.value
      return .ok
    }
    #expect(await health.report(.readiness).checks.first?.status == .failed("no answer within 0.02 seconds"))
    let again = await health.report(.readiness)
    #expect(again.checks.first?.status == .failed("the check has not come back since an earlier probe"))
    #expect(starts.value == 1)
    open.finish()
    let deadline = ContinuousClock.now + .seconds(10)
    while await !health.report(.readiness).isHealthy, ContinuousClock.now < deadline { await Task.yield() }
    #expect(await health.report(.readiness).isHealthy)
  }

  @Test("Probes at the same time share one run of a check")
  func sharing() async {
    let health = HealthRegistry(timeout: .seconds(30))
    let (gate, open) = AsyncStream<Void>.makeStream()
    let starts = Counter()
    health.add("slow", .readiness) {
      starts.increment()
      for await _ in gate {}
      return .ok
    }
    async let first = health.report(.readiness)
    async let second = health.report(.readiness)
    while starts.value == 0 { await Task.yield() }
    for _ in 0..<100 { await Task.yield() }
    #expect(starts.value == 1)
    open.finish()
    #expect(await first.isHealthy)
    #expect(await second.isHealthy)
    #expect(await health.report(.readiness).isHealthy)
  }

  private final class Counter: Sendable {
    private let count = Atomic(0)
    var value: Int { count.load(ordering: .relaxed) }
    func increment() { count.wrappingAdd(1, ordering: .relaxed) }
  }
}
