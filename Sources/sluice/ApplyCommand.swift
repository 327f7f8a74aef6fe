import ArgumentParser
import ControlProtocol
import Rules

struct Apply: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make a rule set decide about packets: validate, compile, self-test, publish.",
    discussion: """
      A rule set that is refused changes nothing. With --file the file first becomes the newest revision of the rule \
      set, which is made where it doesn't exist.

      EXAMPLES
        sluice apply edge
        sluice apply edge --interface eth0 --revision 7
        sluice apply edge --node edge2                # on one node first
        sluice apply edge --confirm-within 60         # then, from a new connection: sluice confirm edge
        sluice apply --file edge.rules --dry-run
        sluice apply --file edge.rules --interface eth0 --socket /run/sluice/sluiced.sock
      """)

  @Argument(help: "The rule set. May be left out where the file names it.")
  var ruleSet: String?
  @Option(help: "Rules from a file, text or JSON; \"-\" is standard input.")
  var file: String?
  @Option(help: "An older revision, to go back to.")
  var revision: UInt64?
  @Option(name: .shortAndLong, help: "On this interface only. Can be repeated.")
  var interface: [String] = []
  @Flag(
    name: [.long, .customShort("n")], help: "Check on the daemon, publish nothing. (The API still stores the file.)")
  var dryRun = false
  @Option(
    help: ArgumentHelp(
      "Unless `sluice confirm` comes within so many seconds, 5 to 86400, the daemon goes back by itself, whoever is "
        + "locked out.", valueName: "seconds"))
  var confirmWithin: UInt32?
  @Flag(help: "Even if it would drop the connection by which you talk to the API. (An SSH session to this machine is not looked at.)")
  var force = false
  @OptionGroup var options: TargetOptions

  func validate() throws {
    if let confirmWithin, !(5...86_400).contains(confirmWithin) {
      throw ValidationError("--confirm-within takes 5 to 86400 seconds")
    }
    if ruleSet == nil, file == nil { throw ValidationError("name a rule set, or a file with --file") }
    if revision != nil, file != nil { throw ValidationError("--revision and --file exclude each other") }
  }

  func run() async throws {
    let output = options.output
    let content = try file.map { path throws(CommandError) in try RuleFile.read(path, name: ruleSet) }
    try await options.run { api in
      let name = content?.ruleSet.name ?? ruleSet ?? ""
      // What is applied is this file, also where somebody stores another meanwhile.
      let stored = if let content { try await store(content, name, api)["revision"].integer } else { Int64?.none }
      let outcome = try await apply(name, revision: stored.map { UInt64($0) } ?? revision, api)
      output.write(outcome, Self.text(outcome))
    } daemon: { daemon in
      guard let content else {
        throw CommandError.usage("rule sets are kept by the API: with --socket, give the rules with --file")
      }
      let targets = try await targets(content.ruleSet.name, daemon)
      let outcome = try await daemon.apply(
        content.ruleSet, to: targets, dryRun: dryRun, confirmWithinSeconds: confirmWithin ?? 0)
        .json(ruleSet: content.ruleSet.name, revision: content.ruleSet.revision, isDryRun: dryRun)
      output.write(outcome, Self.text(outcome))
    }
  }

  private func store(_ content: RuleFile, _ name: String, _ api: APIClient) async throws -> JSON {
    let body = JSON.object(try content.body())
    do {
      return try await api.call(.patch, APIClient.path("rule-sets", name), body: body)["data"]
    } catch let error as CommandError where error.status == .notFound {
      return try await api.call(.post, "/rule-sets", body: body)["data"]
    }
  }

  private func apply(_ name: String, revision: UInt64?, _ api: APIClient) async throws -> JSON {
    var body: [String: JSON] = ["dry_run": .bool(dryRun)]
    if force { body["force"] = true }
    if let confirmWithin { body["confirm_within_seconds"] = .count(confirmWithin) }
    if let revision { body["revision"] = .count(revision) }
    if let attachments = try await attachments(of: name, api) { body["attachments"] = .array(attachments.map { $0["id"] }) }
    return try await api.call(.post, APIClient.path("rule-sets", name, "apply"), body: .object(body))["data"]
  }

  /// Those that are meant; nil: all that have the rule set, on all nodes.
  private func attachments(of ruleSet: String, _ api: APIClient) async throws -> [JSON]? {
    var named: [JSON] = []
    for name in interface {
      guard let attachment = try await api.attachments(node: options.node, interface: name).first else {
        throw CommandError(.notFound, "not_found", "\(name) is not attached: sluice attach \(name)")
      }
      named.append(attachment)
    }
    if !named.isEmpty { return named }
    guard let node = options.givenNode else { return nil }
    let own = try await api.list("/attachments", query: [("node", node), ("rule_set", ruleSet)])
    if !own.isEmpty { return own }
    throw CommandError(
      .notFound, "not_found", "no interface of \(node) has the rule set \(ruleSet): name one with --interface")
  }

  /// The named interfaces; else those that have this rule set; else the one that is attached.
  private func targets(_ name: String, _ daemon: TargetOptions.Daemon) async throws -> [String] {
    guard interface.isEmpty else { return interface }
    let attachments = try await daemon.status().attachments
    let own = attachments.filter { $0.ruleSet == name }.map(\.interface)
    if !own.isEmpty { return own }
    guard attachments.count == 1 else {
      throw CommandError(
        .usage, "usage",
        attachments.isEmpty
          ? "no interface is attached: sluice attach INTERFACE --socket …"
          : "several interfaces are attached, none with \(name): name one with --interface")
    }
    return attachments.map(\.interface)
  }

  static func text(_ outcome: JSON) -> String {
    let isDryRun = outcome["dry_run"].bool ?? false
    var lines = outcome["warnings"].elements.map { "warning: \($0.cell)" }
    lines += outcome["analysis"]["findings"].elements.map { "\($0["kind"].cell): \($0["message"].cell)" }
    if outcome["analysis"]["complete"] == false {
      lines.append("there is more to find than an answer waits for: sluice rules check --budget 0 FILE")
    }
    for result in outcome["results"].elements {
      let seconds = if case .number(let value) = result["apply_seconds"] { value } else { 0.0 }
      let what = isDryRun ? "would be published on" : "decides on"
      let generation = isDryRun ? "" : " \(result["in_place"].bool == true ? "in" : "as") generation \(result["generation"].cell)"
      lines.append(
        "\(outcome["rule_set"].cell) revision \(outcome["revision"].cell) \(what) \(Self.place(result))"
          + "\(generation): \(result["entries"].cell) entries, \(result["self_test_packets"].cell) test packets, "
          + "\(Int((seconds * 1000).rounded())) ms")
    }
    if let deadline = outcome["confirm_by"].string {
      lines.append("until \(deadline), unless it is confirmed: sluice confirm \(outcome["rule_set"].cell)")
    }
    return lines.map(Terminal.safe).joined(separator: "\n")
  }
  /// The interface, with its node where that is another one.
  static func place(_ result: JSON) -> String {
    guard let node = result["node"].string, node != "local" else { return result["interface"].cell }
    return "\(result["interface"].cell) of \(node)"
  }
}
