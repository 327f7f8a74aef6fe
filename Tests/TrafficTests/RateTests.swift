import Testing

@testable import Traffic

@Suite("Rates, ramps and paces")
struct RateTests {
  @Test(
    "Rates are packets or bits a second, exactly",
    arguments: [
      ("100000", .packets, 100_000_000_000, "100kpps"), ("0", .packets, 0, "0pps"), ("0.5pps", .packets, 500_000, "0.5pps"),
      ("1.5Mpps", .packets, 1_500_000_000_000, "1.5Mpps"), ("250K", .packets, 250_000_000_000, "250kpps"),
      ("1gpps", .packets, 1_000_000_000_000_000, "1Gpps"), ("5Gbit", .bits(.l2), 5_000_000_000_000_000, "5Gbit"),
      ("10gbps/L1", .bits(.l1), 10_000_000_000_000_000, "10Gbit/l1"), ("1Tbit/l2", .bits(.l2), 1_000_000_000_000_000_000, "1Tbit"),
      ("800Mbits", .bits(.l2), 800_000_000_000_000, "800Mbit"), ("9600bit", .bits(.l2), 9_600_000_000, "9600bit"),
      ("0.000001k", .packets, 1000, "0.001pps"),
    ] as [(String, TrafficRate.Unit, UInt64, String)])
  func parses(_ text: String, _ unit: TrafficRate.Unit, _ millionths: UInt64, _ canonical: String) throws {
    let rate = try TrafficRate(parsing: text)
    #expect(rate.unit == unit && rate.millionths == millionths)
    #expect(try TrafficRate(parsing: rate.description) == rate, "\(rate)")
    if text != "9600bit" { #expect(rate.description == canonical) }
  }

  @Test(
    "What is no rate is shown with a caret below the fault",
    arguments: [
      ("", 0, "begins with a number"), ("fast", 0, "begins"), ("-5", 0, "begins"), ("1.", 2, "begins"),
      ("1.0000001", 8, "begins"), ("5Gbyte", 1, "no unit"), ("5 Gbit", 1, "ends here"), ("5Gbit/l3", 6, "l1"),
      ("5Gbit/", 6, "l1"), ("5pps/l1", 4, "ends here"), ("1.1Gpps", 0, "at most"), ("2Tbit", 0, "at most"),
      ("99999999999999", 13, "begins"), ("9999999999999T", 0, "at most"), ("10%", 2, "ends here"), ("１０", 0, "begins"),
      ("5\u{1b}[2J", 1, "ends here"),
    ])
  func refuses(_ text: String, _ column: Int, _ part: String) throws {
    let error = try #require(throws: TrafficError.self) { try TrafficRate(parsing: text) }
    #expect(error.description.contains(part), "\(error)")
    let lines = error.description.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.count == 3 && lines.last == "  " + String(repeating: " ", count: column) + "^", "\(error)")
    #expect(!error.description.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" })
  }

  @Test("A long text is shown around its fault only")
  func shortensTexts() throws {
    let error = try #require(throws: TrafficError.self) {
      try TrafficRate(parsing: String(repeating: "1", count: 5) + String(repeating: "x", count: 100_000))
    }
    #expect(error.description.split(separator: "\n").allSatisfy { $0.count < 150 } || error.description.count < 101_000)
    #expect(error.description.split(separator: "\n").last?.count ?? .max < 100)
  }

  @Test("Bits are of frames, and on layer 1 of all that a frame takes on the line: 14.88 Mpps are 10 Gbit/s")
  func countsBits() throws {
    func rate(_ text: String, _ bytes: UInt64, _ frames: UInt64) throws -> Double {
      try #require(try TrafficRate(parsing: text).packetRate(byteCount: bytes, frameCount: frames)).perSecond
    }
    #expect(abs(try rate("10Gbit/l1", 60, 1) - 14_880_952.38) < 0.01)
    #expect(abs(try rate("10Gbit", 1250 * 7, 7) - 1_000_000) < 1e-6)
    #expect(abs(try rate("1Gbit", 60 * 7 + 566 * 4 + 1514, 12) - 1e9 / 8 / (4198.0 / 12)) < 1e-6)
    #expect(abs(try rate("1bit", 1514, 1) * 12112 - 1) < 1e-9)
    #expect(try TrafficRate(parsing: "0.000001bit").packetRate(byteCount: 1 << 62, frameCount: 1) == nil)
    #expect(try TrafficRate(parsing: "1Tbit").packetRate(byteCount: 1, frameCount: 100) == nil)
    #expect(try TrafficRate(parsing: "0").packetRate(byteCount: 60, frameCount: 1) == nil)
  }

  @Test("Ramps go up and down, by per cent or by rates, and reach their end exactly")
  func parsesRamps() throws {
    let whole = try TrafficRate(parsing: "1Mpps")
    func rates(_ text: String) throws -> [String] {
      try TrafficRamp(parsing: text, whole: whole).steps.map(\.rate.description)
    }
    #expect(try rates("10%:50%:20%:5s") == ["100kpps", "300kpps", "500kpps"])
    #expect(try rates("100%:25%:30%:1s") == ["1Mpps", "700kpps", "400kpps", "250kpps"])
    #expect(try rates("1Gbit:2Gbit:750Mbit:1ms") == ["1Gbit", "1.75Gbit", "2Gbit"])
    #expect(try rates("5k:5k:0:1m") == ["5kpps"])
    let steps = try TrafficRamp(parsing: "1:2:1:1.5", whole: nil).steps
    #expect(steps.map(\.nanoseconds) == [1_500_000_000, 1_500_000_000])
  }

  @Test(
    "What is no ramp is refused with the reason",
    arguments: [
      ("", "begins with"), ("1:2", "FROM:TO"), ("1:2:1", "FROM:TO"), ("1:2:1:", "no time"), ("1:2:1:5h", "no time"),
      ("1:2:1:0", "1 ms"), ("1:2:1:1s:", "ends here"), ("0:2:1:1s", "above 0"), ("1:2:0:1s", "never"),
      ("1:2Mbit:1:1s", "all of packets"), ("10%:20%:1%:1s", "missing"), ("1:1Mpps:1:1s", "more than 1000"),
      ("1:2:1:32000000", "31 days"),
    ])
  func refusesRamps(_ text: String, _ part: String) throws {
    let error = try #require(throws: TrafficError.self) { try TrafficRamp(parsing: text, whole: nil) }
    #expect(error.description.contains(part), "\(error)")
  }

  @Test("Any text is a rate, a ramp, a mix, a map, or refused, never trapped on")
  func survivesNoise() {
    let seed = UInt64.random(in: 0 ... .max)
    print("rate text seed \(seed)")
    var random = Seeded(state: seed)
    let words = [
      "1", "0", "9999999999999", "18446744073709551616", ".", "%", ":", "/", ",", "-", "=", "k", "Mpps", "Tbit", "l1", "ms",
      "imix", "64", "3400", "10.0.0.0", "::", "8", "é", "\0", "🂡",
    ]
    let whole = TrafficRate(packetsPerSecond: TrafficLimits.packetsPerSecondMax)
    for _ in 0..<5000 {
      let text = (0..<Int.random(in: 0...9, using: &random)).map { _ in words.randomElement(using: &random)! }.joined()
      if let rate = try? TrafficRate(parsing: text) {
        #expect((try? TrafficRate(parsing: rate.description)) == rate, "\(text) \(rate)")
        _ = rate.packetRate(byteCount: .max, frameCount: .max)
      }
      _ = try? TrafficRamp(parsing: text, whole: whole)
      _ = try? FrameSizes(parsing: text)
      _ = try? FrameRewrite.AddressMap(parsing: text)
    }
  }

  @Test("due(at:) and time(of:) agree for every pace, and parts of it add up to the whole")
  func paceIsCoherent() throws {
    func rate(_ text: String) throws -> PacketRate {
      try #require(try TrafficRate(parsing: text).packetRate(byteCount: 997, frameCount: 3))
    }
    let paces = [
      TrafficPace(try rate("7pps")), TrafficPace(try rate("999999937")), TrafficPace(try rate("3Mbit/l1")),
      TrafficPace(ramp: [(try rate("3pps"), 2_000_000_001), (try rate("0.1pps"), 5), (try rate("5"), 777_777_777)]),
      TrafficPace(offsets: [0, 0, 10, 4_000_000, 4_000_000], period: 4_000_000),
      TrafficPace(offsets: [0], period: 3),
    ]
    for (number, pace) in paces.enumerated() {
      for index in (0..<64).map({ UInt64($0) }) {
        guard let time = pace.time(of: index) else {
          #expect(pace.packetCount.map { index >= $0 } ?? false, "pace \(number)")
          continue
        }
        #expect(pace.due(at: time) > index, "pace \(number) packet \(index)")
        #expect(pace.due(before: time) <= index, "pace \(number) packet \(index)")
      }
      for parts in [2, 3, 7] {
        let dealt = (0..<parts).map { pace.dealt($0, of: parts) }
        for time: UInt64 in [0, 1, 9, 10, 5_000_000, 2_000_000_000, 2_000_000_006, 9_999_999_999] {
          #expect(dealt.reduce(0) { $0 + $1.due(at: time) } == pace.due(at: time), "pace \(number)")
        }
        for index in 0..<20 as Range<UInt64> {
          let part = dealt[Int(index) % parts]
          #expect(part.time(of: index / UInt64(parts)) == pace.time(of: index), "pace \(number)")
        }
        if let all = pace.packetCount { #expect(dealt.reduce(0) { $0 + $1.packetCount! } == all) }
      }
    }
    #expect(TrafficPace(offsets: [0, 0], period: 0).isUnlimited && TrafficPace.unlimited.due(at: 0) == .max)
    #expect(paces[5].due(at: .max) > 0)
  }
}
