import Foundation
import Testing

@testable import sluice

/// Plans and wrong input: nothing is sent.
@Suite("sluice generate, without an interface")
struct GeneratePlanTests {
  private func generate(_ arguments: String...) async throws -> Run {
    try await withFolder { try await sluice(["generate", "--interface", "none0"] + arguments, home: $0) }
  }

  @Test("The help teaches: flows, sizes, rates, replay, results, examples")
  func help() async throws {
    let help = try await generate("--help")
    #expect(help.status == 0)
    let text = help.output.split { $0.isWhitespace }.joined(separator: " ")  // however it is wrapped
    for word in [
      "FLOWS", "SIZES", "RATES", "REPLAY", "RESULT", "EXAMPLES", "imix", "60, 566 and 1514", "10Gbit/l1", "walk=random",
      "10%:100%:10%:5s", "--replay-speed", "--threads", "--cpus", "--map",
    ] { #expect(text.contains(word), "\(word)") }
  }

  @Test("A dry run tells flows, sizes, rate and time, and shows frames as bytes")
  func dryRun() async throws {
    let run = try await generate(
      "--dry-run", "--json", "--size", "imix", "--flows", "100", "--rate", "1Gbit/l1", "--duration", "5s",
      "--show-frames", "2")
    let plan = try #require(JSON.parse(run.output.utf8))
    #expect(run.status == 0 && plan["dry_run"] == true && plan["packets"] == .null && plan["seconds"].integer == 5)
    let flow = try #require(plan["flows"].elements.first)
    #expect(flow["frames"] == 1200 && flow["sizes"] == ["60": 700, "566": 400, "1514": 100])
    guard case .number(let rate) = plan["rate"].elements.first?["packets_per_second"] else {
      Issue.record("no rate in \(run.output)")
      return
    }
    #expect(abs(rate - 1e9 / 8 / (4198.0 / 12 + 24)) < 0.01)
    let frames = plan["first_frames"].elements.compactMap(\.string)
    #expect(frames.count == 2 && frames.allSatisfy { $0.hasPrefix("020000000002") && $0.contains("0800") })
    let text = try await generate("--dry-run", "--ramp", "1k:5k:1k:2s", "--threads", "2")
    for part in ["flow1", "endless", "1.00k packets/s", "5.00k packets/s", "in 5 steps", "10.000 s", "threads: 2"] {
      #expect(text.output.contains(part), "\(part) in \(text.output)")
    }
  }

  @Test("The same seed makes the same plan, another one another")
  func seeds() async throws {
    func frames(_ seed: String) async throws -> JSON {
      let run = try await generate(
        "--dry-run", "--json", "--seed", seed, "--show-frames", "50", "--flow",
        "source=10.0.0.0/8,destination=192.0.2.0/24,walk=random")
      return try #require(JSON.parse(run.output.utf8))["first_frames"]
    }
    let first = try await frames("7")
    #expect(try await frames("7") == first && Set(first.elements).count == 50)
    #expect(try await frames("8") != first)
  }

  @Test(
    "What is wrong is named, with a caret where it stands in a text; the status is 2",
    arguments: [
      (["--rate", "5Gbyte"], "5Gbyte\n   ^"), (["--rate=-1"], "begins with"), (["--size", "40"], "60 to"),
      (["--size", "64:0"], "a weight"), (["--ramp", "10%:100%:10%:5s"], "--rate, which is missing"),
      (["--ramp", "1:2:3"], "FROM:TO:STEP:EVERY"), (["--threads", "0"], "1 to 64"), (["--threads", "65"], "1 to 64"),
      (["--cpus", "0-"], "write 0,1"), (["--cpus", "60000"], "CPU 60000"), (["--threads", "3", "--cpus", "0"], "each"),
      (["--burst", "0"], "1 to 16384"), (["--loops", "2"], "for --pcap"), (["--map", "::/0=::/0"], "for --pcap"),
      (["--replay-speed", "1x"], "for --pcap"), (["--pcap", "x", "--replay-speed", "fast"], "write max"),
      (["--pcap", "x", "--replay-speed", "1x", "--rate", "5"], "both say"),
      (["--pcap", "x", "--replay-speed", "1x", "--threads", "2"], "one thread"),
      (["--pcap", "x", "--size", "64"], "exclude"),
      (["--pcap", "x", "--set-vlan", "4095"], "1 to 4094"), (["--pcap", "x", "--map", "10.0.0.0/8"], "FROM=TO"),
      (["--pcap", "x", "--set-vlan", "1", "--strip-vlan"], "exclude"), (["--count", "0"], "out of range"),
      (["--duration", "soon"], "is no time"), (["--flow", "size=64,walk=far"], "together, all, random"),
      (["--interval", "1s"], "for --json"), (["--show-frames=-1"], "--show-frames"), (["--flows", "64513"], "64512"),
      (["--rate", "1Tbit", "--size", "60"], "1 Gpps"), (["--destination-mac", "x"], "MAC"),
    ])
  func refuses(_ arguments: [String], _ part: String) async throws {
    try await withFolder { home in
      let run = try await sluice(["generate", "--interface", "lo", "--dry-run"] + arguments, home: home)
      #expect(run.status == 2 && run.output.isEmpty, "\(run)")
      #expect(run.errors.contains(part), "\(run.errors)")
    }
  }

  @Test("Capture files that can't be sent are refused with the reason; the status is 1")
  func refusesCaptures() async throws {
    try await withFolder { home in
      let cut = home.appending(path: "cut.pcap")
      try Data([0xd4, 0xc3, 0xb2, 0xa1] + Array(repeating: 0, count: 16)).write(to: cut)
      for (path, code, part) in [
        (cut.path, "capture_unusable", "ends within pcap's header"),
        (home.path + "/none", "capture_unreadable", "No such"), ("/dev/zero", "capture_unreadable", "large"),
      ] {
        let run = try await sluice(["generate", "-i", "x", "--dry-run", "--json", "--pcap", path], home: home)
        let error = try #require(JSON.parse(run.errors.utf8))["error"]
        #expect(run.status == 1 && error["code"].string == code, "\(run)")
        #expect(error["message"].string?.contains(part) == true, "\(run.errors)")
      }
    }
  }
}
