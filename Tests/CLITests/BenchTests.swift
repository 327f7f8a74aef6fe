import Foundation
import Testing

/// The built command measures for moments, in namespaces of its own: that its works work, not how fast they are.
@Suite("`sluice bench`", .serialized, .enabled(if: getuid() == 0, "measuring needs root"))
struct BenchTests {
  @Test(
    "Every rate is measured, and no packet is lost that nothing explains",
    arguments: ["rx-drop", "tx", "tx-2cores", "tx-afxdp", "forward", "forward-kernel", "reflect"])
  func measures(work: String) async throws {
    let metric = try #require(try await metrics(of: work).first)
    let programs = try #require(metric["programs"] as? [[String: Any]])
    let own = try #require(programs.first)
    #expect(own["name"] as? String == "sluice")
    let median = try #require(own["median"] as? Double)
    #expect(median > 10_000)
    if let unexplained = own["unexplained"] as? [Int] { #expect(unexplained == [0]) }
  }

  @Test("Delay and idleness have plausible values")
  func measuresTime() async throws {
    let delays = try await metrics(of: "latency").map { try median(of: $0) }
    #expect(delays.count == 2 && delays[0] > 500 && delays[0] <= delays[1] && delays[1] < 1e9, "\(delays)")
    let idle = try await metrics(of: "idle").map { try median(of: $0) }
    #expect(idle.count == 1 && idle[0] >= 0 && idle[0] < 0.2, "\(idle)")
  }

  private func median(of metric: [String: Any]) throws -> Double {
    try #require((metric["programs"] as? [[String: Any]])?.first?["median"] as? Double)
  }

  private func metrics(of work: String) async throws -> [[String: Any]] {
    let run = try await withFolder {
      try await sluice(["bench", work, "--rounds", "1", "--seconds", "0.2", "--json"], home: $0)
    }
    #expect(run.status == 0, "\(run.errors)")
    let document = try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any]
    return try #require((document?["works"] as? [[String: Any]])?.first?["metrics"] as? [[String: Any]])
  }
}
