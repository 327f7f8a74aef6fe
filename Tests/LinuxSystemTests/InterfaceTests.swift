import Glibc
import LinuxSystem
import NetworkSupport
import Testing

@Suite("Network interfaces", .serialized)
struct InterfaceTests {
  @Test("A new namespace shows loopback and the pair, as ip does")
  func list() throws {
    try withTestNetwork(queues: 3) { network in
      try Shell.run("ip link set near address 02:00:00:00:ab:0c mtu 1400")
      let all = try NetworkInterface.all()
      #expect(Set(all.map(\.name)).isSuperset(of: ["lo", "near", "far"]))
      let near = try network.near()
      #expect(all.first { $0.name == "near" }?.index == near.index)
      #expect(try NetworkInterface.indexed(near.index).name == "near")
      #expect(near.mac == "02:00:00:00:ab:0c" && near.mtu == 1400 && near.isUp && near.hasCarrier && !near.isLoopback)
      #expect(near.rxQueueCount == 3 && near.txQueueCount == 3 && near.kind == "veth" && near.operationalState == .up)
      #expect(try near.driver() == "veth" && near.receiveQueueCount() == 3 && near.transmitQueueCount() == 3)
      #expect(near.numaNode() == -1)
      try Shell.run("ip link set lo down")
      let loopback = try NetworkInterface.named("lo")
      #expect(loopback.isLoopback && !loopback.isUp && loopback.xdp == nil)
      #expect(try loopback.driver() == nil && loopback.receiveQueueCount() == 1 && loopback.transmitQueueCount() == 1)
      try Shell.run("ip link set far down")
      #expect(try !network.near().hasCarrier)
    }
  }

  @Test("Counters count")
  func statistics() throws {
    try withTestNetwork { network in
      let before = try network.near().statistics
      var sender = try FrameSender(interface: try network.far())
      for number: UInt32 in 0..<10 { try sender.send(testFrame(slot: 0, number: number, byteCount: 100)) }
      let after = try network.near().statistics
      #expect(after.rxPackets - before.rxPackets == 10 && after.rxBytes - before.rxBytes == 1000)
      #expect(try network.far().statistics.txPackets >= 10)
    }
  }

  @Test(
    "A name that isn't there is ENODEV with the name",
    arguments: ["", "none", "a/b", "lo\0x", "a-name-too-long-for-linux", "näh"])
  func missing(name: String) throws {
    try withTestNetwork { _ in
      let error = #expect(throws: SystemError.self) { _ = try NetworkInterface.named(name) }
      #expect(error?.code == ENODEV && error?.subject == name)
    }
  }

  @Test("An index that isn't there is ENODEV", arguments: [0, 4711, .max] as [UInt32])
  func missingIndex(index: UInt32) throws {
    try withTestNetwork { _ in
      let error = #expect(throws: SystemError.self) { _ = try NetworkInterface.indexed(index) }
      #expect(error?.code == ENODEV)
    }
  }

  @Test("An attached XDP program shows with mode and id, and the peer becomes a redirect target")
  func xdp() throws {
    try withTestNetwork { network in
      #expect(try network.near().xdp == nil)
      guard let features = try network.far().xdpFeatures() else { return }  // before 6.3
      #expect(features.contains([.basic, .redirect]) && !features.contains(.transmitRedirected))
      do {
        let program = try RedirectProgram(interface: try network.near(), withMetadata: false)
        let attachment = try network.near().xdp
        #expect(attachment?.mode == .native && (attachment?.programID ?? 0) > 0)
        #expect(try network.far().xdpFeatures()?.contains(.transmitRedirected) == true)
        _ = consume program
      }
      #expect(try network.near().xdp == nil)
    }
  }

  @Test("Who carries a default route: itself or what is above it, in any table, as any of several next hops")
  func defaultRoutes() throws {
    try withTestNetwork { network in
      func carrier() throws -> String? { try network.near().defaultRouteCarrier()?.name }
      try Shell.run(
        """
        ip link add bridge type bridge && ip link set bridge up
        ip link add other type bridge && ip link set other up && ip addr add 10.77.0.1/24 dev other
        ip link add link near name upper type macvlan && ip link set upper up
        ip addr add 10.78.0.1/24 dev near && ip route add 10.79.0.0/16 via 10.78.0.2 && ip route add blackhole default
        """)
      #expect(try carrier() == nil)
      try Shell.run("ip route del blackhole default && ip route replace default via 10.77.0.2")
      #expect(try carrier() == nil)
      try Shell.run("ip route replace default nexthop via 10.77.0.2 nexthop via 10.78.0.2")
      #expect(try carrier() == "near")
      try Shell.run("ip route replace default via 10.77.0.2 && ip route add default via 10.78.0.2 table 100")
      #expect(try carrier() == "near")
      try Shell.run("ip route del default table 100 && sysctl -qw net.ipv6.conf.upper.disable_ipv6=0 && ip -6 route add default dev upper")
      #expect(try carrier() == "upper")
      try Shell.run("ip -6 route del default dev upper && ip link del upper && ip link set near master bridge && ip route add default dev bridge metric 5")
      #expect(try carrier() == "bridge")
    }
  }

  @Test("A monitor sees renames, lost programs and removals, and stops from another thread")
  func monitor() throws {
    try withTestNetwork { network in
      let monitor = try LinkMonitor()
      #expect(try monitor.wait(timeoutMilliseconds: 0) == [])
      let near = try network.near()
      let program = try RedirectProgram(interface: near, withMetadata: false, byNetlink: true)
      #expect(
        try find(monitor) {
          if case .changed(let link) = $0 { link.index == near.index && link.xdp != nil } else { false }
        })
      _ = consume program
      #expect(
        try find(monitor) {
          if case .changed(let link) = $0 { link.index == near.index && link.xdp == nil } else { false }
        })
      try Shell.run("ip link set near down && ip link set near name renamed")
      #expect(try find(monitor) { if case .changed(let link) = $0 { link.name == "renamed" } else { false } })
      try Shell.run("ip link del renamed")
      #expect(try find(monitor) { if case .removed(let link) = $0 { link.index == near.index } else { false } })
      let stopper = try PinnedThread.spawn(name: "stopper") { monitor.stop() }
      var news: [LinkEvent]? = []
      while news != nil { news = try monitor.wait(timeoutMilliseconds: 10_000) }
      stopper.join()
      #expect(try monitor.wait() == nil)
    }
  }

  /// Reads news until one fits. False: none within ten seconds.
  private func find(_ monitor: LinkMonitor, _ fits: (LinkEvent) -> Bool) throws -> Bool {
    for _ in 0..<100 {
      guard let news = try monitor.wait(timeoutMilliseconds: 10_000), !news.isEmpty else { return false }
      if news.contains(where: fits) { return true }
    }
    return false
  }
}
