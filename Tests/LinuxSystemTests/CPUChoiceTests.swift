import Testing

@testable import LinuxSystem

@Suite("CPUs of packet threads")
struct CPUChoiceTests {
  @Test("Near the interface, not CPU 0, spread over the queues")
  func choices() {
    #expect(Topology.choose(count: 4, of: [0, 1, 2, 3], near: [], offset: 0) == [1, 2, 3, 1])
    #expect(Topology.choose(count: 3, of: [0, 1, 2, 3], near: [2, 3], offset: 0) == [2, 3, 2])
    #expect(Topology.choose(count: 2, of: [0, 1, 2, 3], near: [0, 1], offset: 0) == [1, 1])
    #expect(Topology.choose(count: 2, of: [0, 1, 2], near: [], offset: 1) == [2, 1])
  }

  @Test("What cannot be avoided is taken: CPU 0, a far node, nothing at all")
  func fallbacks() {
    #expect(Topology.choose(count: 2, of: [0], near: [], offset: 5) == [0, 0])
    #expect(Topology.choose(count: 1, of: [0, 1, 2], near: [0], offset: 0) == [0])
    #expect(Topology.choose(count: 1, of: [0, 1], near: [8, 9], offset: 0) == [1])
    #expect(Topology.choose(count: 3, of: [], near: [1], offset: 0) == [])
    #expect(Topology.choose(count: 0, of: [1], near: [1], offset: 0) == [])
  }

  @Test("On this machine: allowed ones, as many as asked for")
  func here() throws {
    let allowed = try Topology.allowedCPUs()
    let chosen = try Topology.packetCPUs(count: 5, nearNode: -1, offset: 0)
    #expect(chosen.count == 5)
    #expect(Set(chosen).isSubset(of: allowed))
    #expect(allowed == [0] || !chosen.contains(0))
  }
}
