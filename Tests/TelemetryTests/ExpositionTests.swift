import Foundation
import Testing

@testable import Telemetry

func text(_ exposition: Exposition) -> String { String(decoding: exposition.text(), as: UTF8.self) }

@Suite("The text format")
struct ExpositionTests {
  @Test("A family has its help and type once, then its samples; families are sorted by name")
  func families() {
    var exposition = Exposition()
    exposition.family("sluice_z", .gauge, help: "Last.") { $0.sample(2.5) }
    exposition.family("sluice_packets", .counter, help: "Packets.") {
      $0.sample(["interface": "eth0", "action": "drop"], UInt64.max)
    }
    exposition.family("sluice_packets_total", .counter, help: "Another text.") {
      $0.sample([("interface", "eth1")], UInt64(0))
    }
    #expect(
      text(exposition) == """
        # HELP sluice_packets_total Packets.
        # TYPE sluice_packets_total counter
        sluice_packets_total{interface="eth0",action="drop"} 18446744073709551615
        sluice_packets_total{interface="eth1"} 0
        # HELP sluice_z Last.
        # TYPE sluice_z gauge
        sluice_z 2.5

        """)
  }

  @Test("A family without samples is not written")
  func empty() {
    var exposition = Exposition()
    exposition.family("a", .gauge, help: "None.") { _ in }
    #expect(text(exposition) == "")
  }

  @Test("A reused exposition forgets the scrape before, types included")
  func reuse() {
    var exposition = Exposition()
    exposition.family("a", .gauge, help: "One.") { $0.sample(1.0) }
    exposition.reset()
    exposition.family("a", .histogram, help: "Two.") { $0.histogram([], bounds: [], counts: [3], sum: 6) }
    #expect(
      text(exposition) == """
        # HELP a Two.
        # TYPE a histogram
        a_bucket{le="+Inf"} 3
        a_sum 6
        a_count 3

        """)
  }

  @Test(
    "A label value cannot break out of its quotes",
    arguments: [
      ("plain", "plain"), ("", ""), ("a\"} 1\nforged 1", #"a\"} 1\nforged 1"#), ("\\", #"\\"#), ("\\n", #"\\n"#),
      ("ünï\u{1F980}", "ünï\u{1F980}"), ("a\r\u{0}b", "a\r\u{0}b"),
    ])
  func escaping(_ value: String, _ written: String) {
    var exposition = Exposition()
    exposition.family("m", .gauge, help: value) { $0.sample(["l": value], UInt64(1)) }
    let lines = text(exposition).split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.count == 4)
    #expect(lines[2].unicodeScalars.elementsEqual("m{l=\"\(written)\"} 1".unicodeScalars))
  }

  @Test(
    "Names are made valid",
    arguments: [
      ("http.server.requests", MetricType.counter, "http_server_requests_total"), ("9lives", .gauge, "_9lives"),
      ("", .gauge, "_"), ("a:b", .gauge, "a:b"), ("x_total", .counter, "x_total"), ("é", .gauge, "__"),
      ("a b\n", .gauge, "a_b_"),
    ])
  func names(_ name: String, _ type: MetricType, _ expected: String) {
    #expect(MetricName.metric(name, type) == expected)
  }

  @Test("Label names lose colons and the prefix that Prometheus keeps for itself")
  func labelNames() {
    #expect(MetricName.label("a:b-c") == "a_b_c")
    #expect(MetricName.label("__name__") == "_name__")
    #expect(MetricName.label("__") == "_")
  }

  @Test(
    "Numbers as Prometheus reads them",
    arguments: [
      (0.0, "0"), (-0.5, "-0.5"), (1e300, "1e+300"), (.infinity, "+Inf"), (-.infinity, "-Inf"), (.nan, "NaN"),
      (1_700_000_000.25, "1700000000.25"), (0.0005, "0.0005"),
    ])
  func numbers(_ value: Double, _ expected: String) { #expect(MetricFamily.text(value) == expected) }

  @Test("Buckets are written cumulatively, with the sum and the count")
  func histogram() {
    var exposition = Exposition()
    exposition.family("h", .histogram, help: "H.") {
      $0.histogram([("q", "0")], bounds: [0.1, 1], counts: [2, 0, 1], sum: 3.5)
    }
    #expect(
      text(exposition).split(separator: "\n").dropFirst(2) == [
        #"h_bucket{q="0",le="0.1"} 2"#, #"h_bucket{q="0",le="1"} 2"#, #"h_bucket{q="0",le="+Inf"} 3"#,
        #"h_sum{q="0"} 3.5"#, #"h_count{q="0"} 3"#,
      ])
  }

  @Test("A family that has another type already is left out and counted")
  func conflict() {
    var exposition = Exposition()
    exposition.family("a", .gauge, help: "A.") { $0.sample(1.0) }
    exposition.family("a", .histogram, help: "A.") { $0.histogram([], bounds: [], counts: [1], sum: 1) }
    #expect(exposition.droppedSeries == 1)
    #expect(!text(exposition).contains("bucket"))
  }

  @Test("A family never has more series than its limit")
  func limit() {
    var exposition = Exposition()
    exposition.family("a", .gauge, help: "A.") { family in
      for index in 0..<Exposition.seriesPerFamilyMax + 7 { family.sample(["i": "\(index)"], UInt64(1)) }
    }
    #expect(exposition.droppedSeries == 7)
    #expect(text(exposition).split(separator: "\n").count == Exposition.seriesPerFamilyMax + 2)
  }
}
