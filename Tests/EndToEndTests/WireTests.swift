import Foundation
import LinuxSystem
import NetworkSupport
import Packets
import Testing
import XDPPrograms

/// `lan1` sends into `lan0`; a wire carries the packets to `wan0`, and they arrive at `wan1`.
@Suite("Wires: what the rules of one interface pass leaves by another", .serialized)
struct WireTests {
  private func start() throws -> Stack {
    let stack = try Stack()
    try stack.namespace.makePair("wan0", "wan1")
    // The far ends take redirected frames: a veth does while its peer has GRO or an XDP program.
    try stack.namespace.run("ethtool -K lan1 gro on && ethtool -K wan1 gro on")
    try stack.startDaemon()
    for interface in ["lan0", "wan0"] { _ = try stack.sluice("attach \(interface) --mode native --socket \(stack.socket)") }
    return stack
  }

  /// Packets that arrived at an interface, since it was made.
  private func arrived(_ stack: Stack, _ interface: String = "wan1") throws -> Int {
    let text = try stack.namespace.run("cat /sys/class/net/\(interface)/statistics/rx_packets")
    return Int(text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? -1
  }

  private func wires(_ stack: Stack) throws -> JSON { JSON(try stack.sluice("wire list --json --socket \(stack.socket)")) }

  private func apply(_ stack: Stack, _ rule: String, to interface: String = "lan0") throws {
    let rules = "\(stack.folder)/edge.rules"
    try "ruleset edge\ndefault pass\n\(rule)\n".write(toFile: rules, atomically: true, encoding: .utf8)
    _ = try stack.sluice("apply --file \(rules) --interface \(interface) --socket \(stack.socket)")
  }

  @Test("The kernel path: rules decide, the rest arrives at the other side to the packet, nothing at the stack")
  func kernelPath() throws {
    let stack = try start()
    try apply(stack, "rule drop-nine: udp dport 9 drop")
    let wire = JSON(try stack.sluice("wire create bump lan0 wan0 --json --socket \(stack.socket)"))
    #expect(wire["current_path"].string == "kernel")
    #expect(wire["reason"].string == "nothing needs the packets in user space")
    let before = try arrived(stack)
    try stack.send(10_000, ports: [9, 10])
    #expect(try arrived(stack) - before == 5000)
    #expect(try stack.metric("sluice_wire_forwarded_packets_total", #"interface="lan0""#, #"way="kernel""#) == 5000)
    #expect(try stack.metric("sluice_interface_packets_total", #"action="forward""#) == 5000)
    #expect(try stack.metric("sluice_interface_packets_total", #"interface="lan0""#, #"action="drop""#) == 5000)
    #expect(try stack.metric("sluice_interface_packets_total", #"interface="lan0""#, #"action="pass""#) == 0)
    try stack.metrics().write(toFile: "\(stack.folder)/metrics.prom", atomically: true, encoding: .utf8)
    try Shell.run("promtool check metrics < \(stack.folder)/metrics.prom")

    _ = try stack.sluice("wire delete bump --socket \(stack.socket)")
    try stack.send(1000, ports: [10])
    #expect(try arrived(stack) - before == 5000)
    #expect(try stack.metric("sluice_interface_packets_total", #"interface="lan0""#, #"action="pass""#) == 1000)
    #expect(try wires(stack).array.isEmpty)
  }

  @Test("A killed daemon: packets go on; the next one has the wire, and its counters go on")
  func survivesKilledDaemon() throws {
    let stack = try start()
    _ = try stack.sluice("wire create bump lan0 wan0 --socket \(stack.socket)")
    let before = try arrived(stack)
    try stack.send(1000, ports: [10])
    stack.stopDaemon(SIGKILL)
    try stack.send(1000, ports: [10])
    #expect(try arrived(stack) - before == 2000)
    try stack.startDaemon()
    try stack.send(1000, ports: [10])
    #expect(try arrived(stack) - before == 3000)
    let wire = try wires(stack)[0]
    #expect(wire["name"].string == "bump" && wire["current_path"].string == "kernel")
    #expect(try stack.metric("sluice_interface_packets_total", #"action="forward""#) == 3000)
  }

  @Test("A stopped daemon comes back with the wire; a side that goes and comes back is wired again")
  func followsInterface() throws {
    let stack = try start()
    _ = try stack.sluice("wire create bump lan0 wan0 --socket \(stack.socket)")
    stack.stopDaemon(SIGTERM)
    try stack.startDaemon()
    #expect(try wires(stack)[0]["current_path"].string == "kernel")
    try stack.namespace.run("ip link del wan0")
    try stack.wait("the wire waits") { try wires(stack)[0]["current_path"].string == "none" }
    #expect(try wires(stack)[0]["reason"].string?.contains("wan0") == true)
    // Nothing leaks to the stack meanwhile.
    try stack.send(1000, ports: [10])
    #expect(try stack.metric("sluice_interface_packets_total", #"interface="lan0""#, #"action="pass""#) == 0)
    try stack.namespace.makePair("wan0", "wan1")
    try stack.namespace.run("ethtool -K wan1 gro on")
    try stack.wait("it is wired again") { try wires(stack)[0]["current_path"].string == "kernel" }
    let before = try arrived(stack)
    try stack.send(1000, ports: [10])
    #expect(try arrived(stack) - before == 1000)
  }

  @Test("A wire that is deleted while it waits leaves its side to the stack")
  func deletedWhileWaiting() throws {
    let stack = try start()
    _ = try stack.sluice("wire create bump lan0 wan0 --socket \(stack.socket)")
    try stack.namespace.run("ip link del wan0")
    try stack.wait("the wire waits") { try wires(stack)[0]["current_path"].string == "none" }
    _ = try stack.sluice("wire delete bump --socket \(stack.socket)")
    try stack.send(1000, ports: [10])
    #expect(try stack.metric("sluice_interface_packets_total", #"interface="lan0""#, #"action="pass""#) == 1000)
  }

  @Test(
    "Captures on a wired interface: captured packets are in the file, the others go on; without a capture all of them do",
    arguments: ["kernel", "user"])
  func capturesWhileWired(_ path: String) throws {
    let stack = try start()
    try apply(stack, "rule look-nine: udp dport 9 capture")
    _ = try stack.sluice("wire create bump lan0 wan0 --path \(path) --socket \(stack.socket)")
    let before = try arrived(stack)
    let capture = JSON(try stack.sluice("capture start lan0 --path nine.pcapng --json --socket \(stack.socket)"))
    try stack.send(2000, ports: [9, 10])
    _ = try stack.sluice("capture stop \(capture["id"].string ?? "") --socket \(stack.socket)")
    let count = try Shell.run("tshark -r \(stack.captures)/nine.pcapng 2>/dev/null | wc -l")
    #expect(count.trimmingCharacters(in: .whitespacesAndNewlines) == "1000")
    // A veth has no zero-copy: on either path the program receives, and says so.
    let status = try stack.sluice("\(path == "user" ? "wire list" : "status") --json --socket \(stack.socket)")
    for text in ["copies packets: driver veth has no zero-copy", "the XDP program copies"] {
      #expect(status.contains(text) && stack.log("sluiced.log").contains(text), "\(status)")
    }
    try stack.wait("the others arrive") { try arrived(stack) - before == 1000 }
    // With no capture the fallback passes them: along the wire.
    try stack.send(1000, ports: [9])
    try stack.wait("these, too") { try arrived(stack) - before == 2000 }
  }

  @Test("The user path: the same to the packet; a killed daemon leaves it to the kernel, the next one takes it back")
  func userPath() throws {
    let stack = try start()
    try apply(stack, "rule drop-nine: udp dport 9 drop")
    let wire = JSON(try stack.sluice("wire create bump lan0 wan0 --path user --json --socket \(stack.socket)"))
    #expect(wire["current_path"].string == "user" && wire["reason"].string == "asked for")
    #expect(wire["queues"][0]["zero_copy"].bool == false && wire["queues"][0]["copy_reason"].string?.isEmpty == false)
    let before = try arrived(stack)
    try stack.send(2000, ports: [9, 10])
    try stack.wait("they arrive") { try arrived(stack) - before == 1000 }
    #expect(try stack.metric("sluice_wire_received_packets_total", #"interface="lan0""#, #"path="user""#) == 1000)
    #expect(try stack.metric("sluice_wire_forwarded_packets_total", #"interface="lan0""#) == 1000)
    #expect(try stack.metric("sluice_wire_forwarded_packets_total", #"way="kernel""#) == 0)
    try stack.metrics().write(toFile: "\(stack.folder)/metrics.prom", atomically: true, encoding: .utf8)
    try Shell.run("promtool check metrics < \(stack.folder)/metrics.prom")
    stack.stopDaemon(SIGKILL)
    try stack.send(1000, ports: [10])
    #expect(try arrived(stack) - before == 2000)
    try stack.startDaemon()
    #expect(try wires(stack)[0]["current_path"].string == "user")
    try stack.send(1000, ports: [10])
    try stack.wait("they arrive") { try arrived(stack) - before == 3000 }
    _ = try stack.sluice("wire delete bump --socket \(stack.socket)")
    try stack.send(1000, ports: [10])
    #expect(try arrived(stack) - before == 3000)
  }

  @Test("A reflector sends every packet back")
  func reflector() throws {
    let stack = try start()
    let wire = JSON(try stack.sluice("wire create echo lan0 lan0 --json --socket \(stack.socket)"))
    #expect(wire["current_path"].string == "user" && wire["reason"].string?.contains("reflector") == true)
    let before = try arrived(stack, "lan1")
    try stack.send(2000, ports: [10])
    try stack.wait("they come back") { try arrived(stack, "lan1") - before == 2000 }
  }

  @Test("Flows: records that a real collector reads sum to the packets sent; the greatest are shown while they run")
  func flows() throws {
    let stack = try start()
    // A file every two seconds, so that it need not be ended to be read.
    try stack.namespace.run("mkdir \(stack.folder)/flows")
    // It rotates its files by SIGALRM, which a child of Foundation's would have blocked.
    let collector = try ChildProcess(
      [
        "ip", "netns", "exec", stack.namespace.name, "nfcapd", "-p", "9995", "-b", "127.0.0.1", "-l",
        "\(stack.folder)/flows", "-t", "2",
      ], output: .file("/dev/null"), errors: .file("\(stack.folder)/nfcapd.log"))
    defer { collector.signal(SIGTERM) }
    try stack.wait("the collector listens") { try stack.namespace.run("ss -Hlun").contains(":9995") }
    let wire = JSON(
      try stack.sluice(
        "wire create watched lan0 wan0 --collector 127.0.0.1:9995 --idle-timeout 2s --json --socket \(stack.socket)"))
    #expect(wire["current_path"].string == "user" && wire["reason"].string?.contains("flows") == true)
    let before = try arrived(stack)
    try stack.send(2000, ports: [9, 10, 11, 12])
    try stack.wait("they arrive") { try arrived(stack) - before == 2000 }
    let top = JSON(try stack.sluice("flows top watched --by packets --json --socket \(stack.socket)"))
    #expect(top["flow_count"].int == 4 && top["flows"].array.map { $0["packets"].int } == [500, 500, 500, 500])
    #expect(Set(top["flows"].array.map { $0["destination_port"].int }) == [9, 10, 11, 12])
    #expect(top["flows"][0]["interface"].string == "lan0" && top["flows"][0]["source"].string == "192.0.2.1")
    #expect(try stack.sluice("flows top watched --socket \(stack.socket)").contains("198.51.100.7:"))
    try stack.wait("the records are there") {
      let text = try Shell.run(
        """
        nfdump -R \(stack.folder)/flows -q -N -o 'fmt:row %pkt' 2>/dev/null | awk '/row/ {s += $2} END {print s + 0}'
        """)
      return text.trimmingCharacters(in: .whitespacesAndNewlines) == "2000"
    }
    let index = try stack.namespace.run("cat /sys/class/net/lan0/ifindex").trimmingCharacters(in: .whitespacesAndNewlines)
    #expect(try String(contentsOfFile: "\(stack.folder)/nfcapd.log", encoding: .utf8).contains("domain \(index) "))
    #expect(try stack.metric("sluice_flow_packets_total") == 2000)
    #expect(try stack.metric("sluice_wire_batch_packets_sum") == 2000)
    #expect(try stack.metric("sluice_flow_export_records_total") == 4)
    #expect(try stack.metric("sluice_flow_records_lost_total") == 0)
    #expect(try stack.metric("sluice_flow_export_unsent_records_total") == 0)
    #expect(try stack.metric("sluice_flow_export_errors_total", #"reason="refused""#) == 0)
    // A collector that is gone while its machine is there: refusals come back for messages that counted as sent.
    collector.signal(SIGKILL)
    var port: UInt16 = 100
    try stack.wait("the refusals are told", atMost: 20) {
      port += 1
      try stack.send(1, ports: [port])
      return try stack.metric("sluice_flow_export_errors_total", #"reason="refused""#) > 0
    }
    #expect(try stack.sluice("wire show watched --socket \(stack.socket)").contains("export errors: refused "))
  }

  @Test("A mirror gets a copy of every packet, and the packets go on")
  func mirror() throws {
    let stack = try start()
    try stack.namespace.makePair("mon0", "mon1")
    _ = try stack.sluice("wire create seen lan0 wan0 --mirror mon0 --socket \(stack.socket)")
    let (before, copies) = (try arrived(stack), try arrived(stack, "mon1"))
    try stack.send(1000, ports: [10])
    try stack.wait("they arrive") { try arrived(stack) - before == 1000 }
    try stack.wait("and their copies") { try arrived(stack, "mon1") - copies == 1000 }
    #expect(try stack.metric("sluice_wire_copies_total", #"kind="mirrored""#) == 1000)

    // As when the container that looks at them starts anew.
    try stack.namespace.run("ip link del mon0")
    func isMissed() throws -> Bool {
      try wires(stack)[0]["warnings"].array.contains { $0.string?.contains("mon0 is gone") == true }
    }
    try stack.wait("it is noticed") { try isMissed() }
    try stack.send(100, ports: [10])
    try stack.wait("packets go on") { try arrived(stack) - before == 1100 }
    #expect(try stack.metric("sluice_wire_copies_total", #"kind="mirror_dropped""#) == 100)
    try stack.namespace.makePair("mon0", "mon1")
    try stack.wait("it is found") { try !isMissed() }
    let again = try arrived(stack, "mon1")
    try stack.send(1000, ports: [10])
    try stack.wait("packets go on") { try arrived(stack) - before == 2100 }
    try stack.wait("and copies of them come") { try arrived(stack, "mon1") - again == 1000 }
  }

  @Test("A wire follows the number of its sides' queues")
  func queues() throws {
    let stack = try Stack()
    try stack.startDaemon()
    for pair in [("one", "two"), ("three", "four")] {
      try stack.namespace.makePair(pair.0, pair.1, options: "numrxqueues 4 numtxqueues 4")
      try stack.namespace.run("ethtool -L \(pair.1) rx 2 tx 2 && ethtool -L \(pair.0) rx 2 tx 2")
      _ = try stack.sluice("attach \(pair.0) --mode native --socket \(stack.socket)")
    }
    _ = try stack.sluice("wire create bump one three --path user --socket \(stack.socket)")
    #expect(try wires(stack)[0]["queues"].array.count == 2)
    try stack.namespace.run("ethtool -L one rx 3 tx 3 && ethtool -L three rx 3 tx 3")
    try stack.wait("it has as many threads", atMost: 20) { try wires(stack)[0]["queues"].array.count == 3 }
    _ = try stack.sluice("wire delete bump --socket \(stack.socket)")
    try stack.namespace.run("ethtool -L one tx 1")
    let error = try #require(throws: ShellError.self) {
      try stack.sluice("wire create bump one three --path user --socket \(stack.socket)")
    }
    #expect(error.output.contains("one has 3 receive queues and 1 to transmit"), "\(error.output)")
  }

  @Test("While its output is down, a wire drops and counts; nothing of that leaves when it is up again")
  func outputDown() throws {
    let stack = try start()
    _ = try stack.sluice("wire create bump lan0 wan0 --path user --socket \(stack.socket)")
    let dropped = { try stack.metric("sluice_wire_dropped_packets_total", #"interface="lan0""#, #"reason="output_down""#) }
    try stack.namespace.run("ip link set wan0 down")
    try stack.wait("it is noticed") {
      try stack.send(1, ports: [10])
      return try dropped() > 0
    }
    let (before, lost) = (try arrived(stack), try dropped())
    try stack.send(1000, ports: [10])
    try stack.wait("each is counted") { try dropped() == lost + 1000 }
    try stack.namespace.run("ip link set wan0 up")
    try stack.wait("it is noticed") {
      try stack.send(1, ports: [10])
      return try arrived(stack) > before
    }
    let (later, still) = (try arrived(stack), try dropped())
    #expect(later - before < 200)
    try stack.send(1000, ports: [10])
    try stack.wait("they arrive") { try arrived(stack) - later == 1000 }
    #expect(try dropped() == still)
  }

  @Test("A device that loses the ability to transmit redirected packets is told of at once, and when it has it again")
  func watchesFeatures() throws {
    let stack = try start()
    _ = try stack.sluice("wire create bump lan0 wan0 --socket \(stack.socket)")
    #expect(try stack.metric("sluice_wire_fallback") == 0)
    try stack.namespace.run("ethtool -K wan1 gro off")
    try stack.wait("it is noticed") { try wires(stack)[0]["current_path"].string == "user" }
    #expect(try wires(stack)[0]["reason"].string?.contains("wan0 cannot transmit redirected packets") == true)
    let before = try arrived(stack)
    try stack.send(1000, ports: [10])
    try stack.wait("they arrive by AF_XDP") { try arrived(stack) - before == 1000 }
    #expect(try stack.metric("sluice_wire_not_live_packets_total", #"reason="device_unable""#) == 1000)
    try stack.namespace.run("ethtool -K wan1 gro on")
    try stack.wait("it is well again") { try wires(stack)[0]["current_path"].string == "kernel" }
    try stack.send(1000, ports: [10])
    #expect(try arrived(stack) - before == 2000)
  }

  @Test("Wrong wires are refused with words, and what was there stays")
  func refusals() throws {
    let stack = try start()
    _ = try stack.sluice("wire create bump lan0 wan0 --socket \(stack.socket)")
    func refuse(_ arguments: String, _ status: Int32, _ words: String...) throws {
      let error = try #require(throws: ShellError.self) { try stack.sluice("\(arguments) --socket \(stack.socket)") }
      #expect(error.status == status, "\(error)")
      for word in words { #expect(error.output.contains(word), "\(error.output)") }
    }
    try refuse("wire create other lan0 wan0", 1, "lan0 is part of the wire bump already")
    try refuse("wire create bump wan0 lan0", 6, "bump", "other options")
    try refuse("wire create other nope wan0", 1, "wan0 is part")
    try refuse("wire create other lan1 nope", 5, "not attached")
    try refuse("wire create 'Bad Name' lan0 wan0", 2, "name")
    try refuse("wire create \"$(printf '\\033[2J')\" lan0 wan0", 2, "name")
    try refuse("wire create other lan0 ../../etc", 2, "b:")
    try refuse("wire create other lan0 lan0 --path kernel", 2, "reflector")
    try refuse("wire create other lan0 wan0 --batch 7", 2, "batch")
    try refuse("wire create other lan0 wan0 --collector example.org:1", 2, "collector")
    try refuse("wire delete other", 5, "bump")
    try refuse("detach lan0", 1, "delete the wire first")
    try refuse("flows top bump", 1, "does not account for flows")
    #expect(try wires(stack).array.count == 1)
    // The same again is no error.
    _ = try stack.sluice("wire create bump lan0 wan0 --socket \(stack.socket)")
  }

  /// Where there is more, the wire would be made.
  private static let hasLessThan128GiB = sysconf(CInt(_SC_PHYS_PAGES)) * sysconf(CInt(_SC_PAGESIZE)) < 128 << 30

  @Test("A wire that would take the machine's memory is refused, and is not there after a restart", .enabled(if: hasLessThan128GiB))
  func tooLarge() throws {
    let stack = try start()
    for pair in [("big0", "big1"), ("big2", "big3")] {
      try stack.namespace.makePair(pair.0, pair.1, options: "numrxqueues 64 numtxqueues 64")
      _ = try stack.sluice("attach \(pair.0) --mode native --socket \(stack.socket)")
    }
    let create = "wire create vast big0 big2 --flows-max 4194304 --ring-entries 65536 --socket \(stack.socket)"
    let error = try #require(throws: ShellError.self) { try stack.sluice(create) }
    #expect(error.output.contains("wire_memory_bytes_max") && error.output.contains("64 queues"), "\(error.output)")
    #expect(try wires(stack).array.isEmpty)
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    #expect(try wires(stack).array.isEmpty)
  }

  @Test("Through the API: create, list, show, delete, with scopes; a device that loses redirected packets is named")
  func api() throws {
    let stack = try start()
    try stack.startAPI()
    try stack.signIn()
    try stack.namespace.run("ethtool -K wan1 gro off")
    let refused = try stack.post("/nodes/local/wires", #"{"name":"bump","a":"lan0","b":"wan0","path":"kernel"}"#)
    #expect(refused.status == 422 && refused.text.contains("wan0 cannot transmit redirected packets"), "\(refused.text)")
    try stack.namespace.run("ethtool -K wan1 gro on")
    let made = try stack.post("/nodes/local/wires", #"{"name":"bump","a":"lan0","b":"wan0"}"#)
    #expect(made.status == 201 && made.body["data"]["current_path"].string == "kernel", "\(made.text)")
    #expect(try stack.get("/nodes/local/wires").body["meta"]["total"].int == 1)
    #expect(try stack.get("/nodes/local/wires/bump").body["data"]["b"].string == "wan0")
    #expect(try stack.get("/nodes/local/wires/nope").status == 404)
    #expect(try stack.get("/nodes/local/wires", token: "a.b.c").status == 401)
    let flows = try stack.get("/nodes/local/wires/bump/flows")
    #expect(flows.status == 422 && flows.text.contains("does not account"), "\(flows.text)")
    #expect(try stack.request("DELETE", "/nodes/local/wires/bump").status == 200)
    #expect(try stack.request("DELETE", "/nodes/local/wires/bump").status == 404)
  }
}
