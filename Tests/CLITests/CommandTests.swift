import ControlProtocol
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Rules
import Testing

@testable import sluice

/// A daemon with one attached interface.
private struct SmallDaemon: Sluice_Control_V1_Control.SimpleServiceProtocol {
  private var attachment: Sluice_Control_V1_Attachment {
    .with {
      ($0.interface, $0.mode, $0.ruleSet, $0.revision, $0.generation) = ("eth0", .native, "edge", 3, 9)
      $0.queues = [.with { $0.zeroCopy = true }]
    }
  }
  func getStatus(
    request: Sluice_Control_V1_GetStatusRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetStatusResponse {
    .with {
      ($0.version, $0.kernel, $0.startedAtUnixNanos) = ("1.2.3", "6.18", 1_795_230_245_500_000_000)
      $0.attachments = [attachment]
      $0.features = ["xdp_frags": "yes", "bpf_link": "no: kernel before 5.9"]
    }
  }
  func listInterfaces(
    request: Sluice_Control_V1_ListInterfacesRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ListInterfacesResponse {
    .with {
      $0.interfaces = [
        .with { ($0.name, $0.up, $0.carrier, $0.mtu, $0.attachment) = ("eth0", true, true, 1500, attachment) },
        .with { ($0.name, $0.foreignProgramID, $0.numaNode) = ("evil\u{1b}[2J", 7, -1) },
      ]
    }
  }
  func attach(
    request: Sluice_Control_V1_AttachRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_AttachResponse {
    guard request.interface == "eth0" else {
      throw RPCError(code: .notFound, message: "no interface \(request.interface)")
    }
    return .with {
      $0.attachment = attachment
      $0.attachment.options = request.options
    }
  }
  func detach(
    request: Sluice_Control_V1_DetachRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_DetachResponse { .init() }
  func apply(
    request: Sluice_Control_V1_ApplyRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ApplyResponse {
    let ruleSet = try RuleSet(request.ruleSet)
    return .with {
      $0.results = request.interfaces.map { name in
        .with {
          ($0.interface, $0.generation, $0.entries, $0.applySeconds) = (name, 10, UInt32(ruleSet.rules.count), 0.0021)
        }
      }
      $0.warnings = ["careful"]
    }
  }
  func getRuleSet(
    request: Sluice_Control_V1_GetRuleSetRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetRuleSetResponse { .init() }
  func getCounters(
    request: Sluice_Control_V1_GetCountersRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetCountersResponse {
    .with {
      $0.interfaces = [
        .with {
          $0.interface = "eth0"
          let counter = Sluice_Control_V1_Counter.with { ($0.packets, $0.bytes) = (5, 320) }
          $0.rules = [.with { ($0.rule, $0.action, $0.counter) = ("a", "drop", counter) }]
          $0.actions = ["drop": counter]
        }
      ]
    }
  }
  func streamEvents(
    request: Sluice_Control_V1_StreamEventsRequest, response: RPCWriter<Sluice_Control_V1_Event>, context: ServerContext
  ) async throws {}
  private func capture(_ request: Sluice_Control_V1_StartCaptureRequest) -> Sluice_Control_V1_Capture {
    .with { ($0.id, $0.request, $0.state, $0.files) = ("c1", request, .running, ["/c/x.pcapng"]) }
  }
  func startCapture(
    request: Sluice_Control_V1_StartCaptureRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_StartCaptureResponse { .with { $0.capture = capture(request) } }
  func stopCapture(
    request: Sluice_Control_V1_StopCaptureRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_StopCaptureResponse {
    throw RPCError(code: .failedPrecondition, message: "capture \(request.id) cannot be stopped")
  }
  func listCaptures(
    request: Sluice_Control_V1_ListCapturesRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ListCapturesResponse { .with { $0.captures = [capture(.init())] } }
}

@Suite("The built command", .timeLimit(.minutes(2)))
struct CommandTests {
  @Test(
    "Wrong usage ends with 2 and says what is right",
    arguments: [
      ["bogus"], ["attach"], ["attach", "eth0", "--mode", "fast"], ["apply"],
      ["apply", "x", "--file", "f", "--revision", "1"], ["rule", "add", "edge"], ["rule", "add", "edge", "r", "--action", "explode"], ["status", "--api", "nonsense"],
      ["status", "--api", "http://127.0.0.1:1", "--socket", "/s"], ["counters", "--interval", "soon"],
      ["apply", "--file", "/nonexistent/rules"], ["login", "a@b", "--password-stdin"],
      ["status", "--socket", "relative/path"], ["session", "revoke"], ["session", "revoke", "x", "--all"],
      ["session", "revoke", "x"], ["session", "history", "--limit", "100001"],
      ["capture", "list", "--sort", "id", "--socket", "/s"],
    ])
  func usage(_ arguments: [String]) async throws {
    try await withFolder { home in
      let plain = try await sluice(arguments, home: home)
      #expect(plain.status == 2, "\(plain)")
      #expect(!plain.errors.isEmpty)
      #expect(plain.output.isEmpty)
      let json = try await sluice(arguments + ["--json"], home: home)
      #expect(json.status == 2)
      #expect(JSON.parse(json.errors.utf8)?["error"]["message"].string?.isEmpty == false, "\(json)")
    }
  }

  @Test("Help documents the exit statuses and every command; completions come out")
  func help() async throws {
    try await withFolder { home in
      let help = try await sluice(["--help"], home: home)
      #expect(help.status == 0)
      for word in [
        "EXIT STATUS", "EXAMPLES", "login", "logout", "whoami", "password", "status", "interfaces", "attach", "detach",
        "rule-set", "rule", "apply", "counters", "capture",
      ] { #expect(help.output.contains(word), "\(word)") }
      for shell in ["bash", "zsh", "fish"] {
        let completions = try await sluice(["--generate-completion-script", shell], home: home)
        #expect(completions.status == 0 && completions.output.contains("sluice"))
      }
    }
  }

  @Test("Who is not signed in gets 3, who reaches nobody 7, with the remedy")
  func unreachable() async throws {
    try await withFolder { home in
      let signedOut = try await sluice(["status"], home: home)
      #expect(signedOut.status == 3)
      #expect(signedOut.errors.contains("sluice login"))
      let noDaemon = try await sluice(["status", "--json", "--socket", home.path + "/no.sock"], home: home)
      #expect(noDaemon.status == 7)
      let error = try #require(JSON.parse(noDaemon.errors.utf8))
      #expect(error["error"]["code"] == "node_unavailable")
      #expect(error["error"]["message"].string?.contains("no socket") == true)
      let noAPI = try await sluice(
        ["login", "a@b", "--password-stdin", "--api", "http://127.0.0.1:1"], home: home, input: "x\n")
      #expect(noAPI.status == 7)
      #expect(noAPI.errors.contains("sluice-api"), "\(noAPI)")
    }
  }

  @Test("Over the socket: every command that works without the API")
  func socket() async throws {
    try await withFolder { home in
      let path = home.path + "/d.sock"
      let transport: HTTP2ServerTransport.Posix = .http2NIOPosix(
        address: .unixDomainSocket(path: path), transportSecurity: .plaintext)
      try await withGRPCServer(transport: transport, services: [SmallDaemon()]) { server in
        _ = try await server.listeningAddress
        try await commands(path, home)
      }
    }
  }

  private func commands(_ path: String, _ home: URL) async throws {
    func run(_ arguments: String...) async throws -> Run {
      try await sluice(arguments, home: home, environment: ["SLUICE_SOCKET": path])
    }
    func json(_ arguments: String...) async throws -> JSON {
      let run = try await sluice(arguments + ["--json", "--socket", path], home: home)
      #expect(run.status == 0, "\(run)")
      return try #require(JSON.parse(run.output.utf8), "\(run)")
    }
    let status = try await run("status")
    #expect(status.output.contains("sluiced 1.2.3 on Linux 6.18, since 2026-11-21T03:04:05.500Z"))
    #expect(status.output.contains("without bpf_link: no: kernel before 5.9"))
    #expect(status.output.contains("eth0       native  edge             3           9       1  1/1"))
    #expect(try await json("status")["attachments"].elements.first?["mode"] == "native")

    let interfaces = try await run("interfaces")
    #expect(interfaces.output.contains("program 7") && !interfaces.output.contains("\u{1b}"))
    #expect(try await json("interfaces").elements.first?["attachment"]["rule_set"] == "edge")

    let attached = try await json(
      "attach", "eth0", "--zero-copy", "off", "--keep-on-exit", "--capture-fallback", "drop")
    #expect(attached["options"]["zero_copy"] == "off" && attached["options"]["keep_on_exit"] == true)
    #expect(attached["options"]["capture_fallback"] == "drop")
    #expect(try await run("attach", "eth9").status == 5)
    #expect(try await run("attach", "eth0", "--rule-set", "edge").status == 2)
    #expect(try await json("detach", "eth0")["detached"] == true)

    let rules = home.path + "/edge.rules"
    try "ruleset edge\nrule a: tcp dport 23 drop\n".write(toFile: rules, atomically: true, encoding: .utf8)
    #expect(try await run("apply", "edge").status == 2)
    let applied = try await run("apply", "--file", rules)
    #expect(applied.output.contains("edge revision 0 decides on eth0 as generation 10: 1 entries"), "\(applied)")
    #expect(applied.output.contains("warning: careful"))
    let dry = try await json("apply", "--file", rules, "--interface", "eth1", "--dry-run")
    #expect(dry["dry_run"] == true && dry["results"].elements.map { $0["interface"] } == ["eth1"])

    #expect(try await json("counters").elements.first?["actions"]["drop"]["packets"] == 5)
    let watched = try await sluice(
      ["counters", "--watch", "--count", "3", "--interval", "10ms", "--json", "--socket", path], home: home)
    #expect(watched.output.split(separator: "\n").count == 3)
    #expect(watched.output.split(separator: "\n").allSatisfy { JSON.parse($0.utf8) != nil })

    let capture = try await json("capture", "start", "eth0", "--packets", "10", "--duration", "5s", "--rule", "a")
    #expect(capture["id"] == "c1" && capture["packet_limit"] == 10 && capture["duration_ms"] == 5000)
    #expect(try await run("capture", "list").output.contains("/c/x.pcapng"))
    let stop = try await run("capture", "stop", "c1")
    #expect(stop.status == 1 && stop.errors == "error: capture c1 cannot be stopped\n")
  }
}

extension SmallDaemon {
  func createWire(
    request: Sluice_Control_V1_CreateWireRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_CreateWireResponse {
    .with { $0.wire.options = request.options }
  }

  func changeRule(
    request: Sluice_Control_V1_ChangeRuleRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ApplyResponse { throw RPCError(code: .unimplemented, message: "") }

  func changeSet(
    request: Sluice_Control_V1_ChangeSetRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ChangeSetResponse {
    .init()
  }

  func getSetCounters(
    request: Sluice_Control_V1_GetSetCountersRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetSetCountersResponse {
    .init()
  }

  func changeSetInParts(
    request: RPCAsyncSequence<Sluice_Control_V1_ChangeSetRequest, any Error>, context: ServerContext
  ) async throws -> Sluice_Control_V1_ChangeSetResponse {
    .init()
  }

  func confirm(
    request: Sluice_Control_V1_ConfirmRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ConfirmResponse {
    .init()
  }

  func withdraw(
    request: Sluice_Control_V1_WithdrawRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_WithdrawResponse {
    .init()
  }

  func deleteWire(
    request: Sluice_Control_V1_DeleteWireRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_DeleteWireResponse {
    throw RPCError(code: .notFound, message: "there is no wire \(request.name)")
  }

  func listWires(
    request: Sluice_Control_V1_ListWiresRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ListWiresResponse {
    .with { $0.wires = [.with { $0.options.name = "bump"; $0.path = .kernel; $0.reason = "asked for" }] }
  }

  func topFlows(
    request: Sluice_Control_V1_TopFlowsRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_TopFlowsResponse {
    .with {
      $0.complete = true
      $0.flows = [.with { $0.source = "192.0.2.1"; $0.protocol = "udp"; $0.packets = 7; $0.bytes = UInt64(request.limit) }]
    }
  }

  func streamCapture(
    request: Sluice_Control_V1_StreamCaptureRequest, response: RPCWriter<Sluice_Control_V1_StreamCaptureResponse>,
    context: ServerContext
  ) async throws {
    try await response.write(.with { $0.capture.id = "c1" })
    try await response.write(.with { $0.data = .init([0x0a, 0x0d, 0x0d, 0x0a]) })
  }
}
