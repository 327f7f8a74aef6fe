import CoreMetrics
import Foundation
import Testing

@testable import Telemetry

extension PrometheusRegistry {
  fileprivate func lines() async -> [String] {
    String(decoding: await render(), as: UTF8.self).split(separator: "\n").map(String.init)
  }
}

@Suite("The registry", .timeLimit(.minutes(1)))
struct RegistryTests {
  @Test("Instruments of swift-metrics appear with their values")
  func instruments() async {
    let registry = PrometheusRegistry()
    registry.describe("applies", help: "Applied rule sets.")
    registry.makeCounter(label: "applies", dimensions: [("result", "ok")]).increment(by: 3)
    registry.makeCounter(label: "applies", dimensions: [("result", "ok")]).increment(by: -9)
    registry.makeFloatingPointCounter(label: "joules", dimensions: []).increment(by: 0.25)
    let meter = registry.makeMeter(label: "depth", dimensions: [])
    meter.set(Int64(5))
    meter.decrement(by: 1.5)
    registry.makeRecorder(label: "last", dimensions: [], aggregate: false).record(Int64(8))
    registry.makeRecorder(label: "size", dimensions: [], aggregate: true).record(Int64(5))
    registry.makeTimer(label: "apply", dimensions: []).recordNanoseconds(2_000_000)
    let lines = await registry.lines()
    for line in [
      "# HELP applies_total Applied rule sets.", #"applies_total{result="ok"} 3"#, "joules_total 0.25", "depth 3.5",
      "last 8", #"size_bucket{le="4"} 0"#, #"size_bucket{le="16"} 1"#, #"apply_seconds_bucket{le="0.001"} 0"#,
      #"apply_seconds_bucket{le="0.0025"} 1"#, "apply_seconds_sum 0.002", "apply_seconds_count 1",
    ] { #expect(lines.contains(line), "\(line)") }
  }

  @Test("The order of dimensions does not matter; their text does")
  func dimensions() async {
    let registry = PrometheusRegistry()
    registry.makeCounter(label: "c", dimensions: [("a", "1"), ("b", "2")]).increment(by: 1)
    registry.makeCounter(label: "c", dimensions: [("b", "2"), ("a", "1")]).increment(by: 1)
    registry.makeCounter(label: "c", dimensions: [("a", "1b"), ("b", "2")]).increment(by: 1)
    let lines = await registry.lines().filter { $0.hasPrefix("c_total") }
    #expect(Set(lines) == [#"c_total{a="1",b="2"} 2"#, #"c_total{a="1b",b="2"} 1"#])
  }

  @Test("Too many label values are refused and counted, and the metric's first ones stay")
  func cardinality() async {
    let registry = PrometheusRegistry()
    for index in 0..<PrometheusRegistry.seriesPerInstrumentMax + 5 {
      registry.makeCounter(label: "c", dimensions: [("path", "/\(index)")]).increment(by: 1)
    }
    let lines = await registry.lines()
    #expect(lines.filter { $0.hasPrefix("c_total{") }.count == PrometheusRegistry.seriesPerInstrumentMax)
    #expect(lines.contains("sluice_telemetry_series_refused_total 5"))
  }

  @Test("A name that is a counter cannot become a gauge")
  func conflict() async {
    let registry = PrometheusRegistry()
    registry.makeCounter(label: "c_total", dimensions: []).increment(by: 1)
    registry.makeMeter(label: "c_total", dimensions: []).set(9.0)
    let lines = await registry.lines()
    #expect(lines.contains("c_total 1"))
    #expect(lines.contains("sluice_telemetry_series_refused_total 1"))
  }

  @Test("A destroyed instrument is gone from the next scrape")
  func destroy() async {
    let registry = PrometheusRegistry()
    let counter = registry.makeCounter(label: "c", dimensions: [])
    registry.destroyCounter(counter)
    #expect(await registry.lines().allSatisfy { !$0.contains("c_total ") })
  }

  @Test("Collectors are asked at each scrape, and share families with others")
  func collectors() async {
    let registry = PrometheusRegistry()
    let counter = CounterInstrument()
    for queue in ["0", "1"] {
      registry.addCollector { exposition in
        exposition.family("q", .counter, help: "Q.") { counter.write([("queue", queue)], to: &$0) }
      }
    }
    counter.increment(by: 1)
    #expect(await registry.lines().contains(#"q_total{queue="1"} 1"#))
    counter.increment(by: 1)
    let lines = await registry.lines()
    #expect(lines.filter { $0.hasPrefix("q_total") } == [#"q_total{queue="0"} 2"#, #"q_total{queue="1"} 2"#])
    #expect(lines.filter { $0 == "# TYPE q_total counter" }.count == 1)
  }

  @Test("Counting from many tasks loses nothing, also while scrapes run")
  func concurrency() async {
    let registry = PrometheusRegistry()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          for _ in 0..<1000 { registry.makeCounter(label: "c", dimensions: []).increment(by: 1) }
        }
        group.addTask { _ = await registry.render() }
      }
    }
    #expect(await registry.lines().contains("c_total 8000"))
  }

  @Test("Lost log records are told by destination")
  func logs() async {
    let registry = PrometheusRegistry()
    registry.addLogMetrics { [("console", 0), ("syslog", 7)] }
    let samples = await registry.lines().filter { $0.hasPrefix("sluice_log_") }
    #expect(
      samples == [
        #"sluice_log_records_lost_total{destination="console"} 0"#, #"sluice_log_records_lost_total{destination="syslog"} 7"#,
      ])
  }

  @Test("The process's own metrics are plausible")
  func process() async throws {
    let registry = PrometheusRegistry()
    registry.addProcessMetrics()
    let values = Dictionary(
      uniqueKeysWithValues: await registry.lines().filter { !$0.hasPrefix("#") }.map { line in
        let parts = line.split(separator: " ")
        return (String(parts[0]), Double(parts[1]) ?? .nan)
      })
    let start = try #require(values["process_start_time_seconds"])
    let now = Date().timeIntervalSince1970
    #expect((now - 86_400...now + 1).contains(start))
    #expect(try #require(values["process_resident_memory_bytes"]) > 1_000_000)
    #expect(try #require(values["process_open_fds"]) >= 3)
    #expect(try #require(values["process_threads"]) >= 1)
    #expect(try #require(values["process_max_fds"]) > 3)
    #expect(try #require(values["process_cpu_seconds_total"]) > 0)
  }

  @Test(
    "Prometheus' own checker accepts everything",
    .enabled(if: FileManager.default.fileExists(atPath: RegistryTests.promtool)))
  func promtoolAccepts() async throws {
    let registry = PrometheusRegistry()
    registry.addProcessMetrics()
    registry.addBuildInfo(program: "sluiced", version: "1.2.3")
    registry.makeTimer(label: "http_server_request_duration", dimensions: [("path", "/a\"b\n\\")])
      .recordNanoseconds(5_000)
    registry.makeCounter(label: "hb_requests", dimensions: [("status", "200")]).increment(by: 1)
    registry.makeMeter(label: "http_server_active_requests", dimensions: []).set(1.0)
    registry.addCollector { exposition in
      exposition.family("sluice_packets", .counter, help: "Packets: \"all\" of them,\nby\\action.") {
        $0.sample(["interface": "eth0", "action": "drop"], UInt64.max)
      }
    }
    let result = try check(await registry.render())
    #expect(result.status == 0, "\(result.output)")
    #expect(result.output == "")
    #expect(try check(Array("# TYPE a counter\na 1\n".utf8)).status != 0)
  }

  private static let promtool = "/usr/bin/promtool"

  private func check(_ text: [UInt8]) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(filePath: Self.promtool)
    process.arguments = ["check", "metrics"]
    let (input, output) = (Pipe(), Pipe())
    (process.standardInput, process.standardOutput, process.standardError) = (input, output, output)
    try process.run()
    try input.fileHandleForWriting.write(contentsOf: text)
    try input.fileHandleForWriting.close()
    let said = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: said, as: UTF8.self))
  }
}
