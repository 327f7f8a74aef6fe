import ArgumentParser
import ControlProtocol

/// What both commands about a rule set on trial take.
struct TrialOptions: ParsableArguments {
  @Argument(help: "The rule set. With --socket it may be left out: what waits on the interfaces is meant.")
  var ruleSet: String?
  @Option(name: .shortAndLong, help: "On this interface only. Can be repeated.")
  var interface: [String] = []
  @OptionGroup var options: TargetOptions

  /// - Parameters:
  ///   - verb: last segment of the API's path.
  ///   - done: as it is told.
  func run(
    _ verb: String, _ done: String,
    _ decide: @escaping @Sendable (TargetOptions.Daemon, [String], String, UInt64) async throws -> Void
  ) async throws {
    let output = options.output
    try await options.run { api in
      guard let ruleSet else { throw CommandError.usage("name the rule set") }
      // Without a place it is everywhere, on all nodes.
      let places = interface.isEmpty
        ? [options.givenNode.map { [("node", $0)] } ?? []] : Set(interface).sorted().map { [("node", options.node), ("interface", $0)] }
      var results: [JSON] = []
      var unreachable: [JSON] = []
      for place in places {
        do {
          let outcome = try await api.call(.post, APIClient.path("rule-sets", ruleSet, verb), query: place)["data"]
          results += outcome["results"].elements
          unreachable += outcome["unreachable"].elements
        } catch let error as CommandError where !results.isEmpty {
          throw error.after("\(results.map { $0["interface"].cell }.joined(separator: ", ")): \(done)")
        }
      }
      let lines = results.map { "\(ruleSet) revision \($0["revision"].cell) on \(Apply.place($0)): \(done)" }
      output.write(
        ["rule_set": .string(ruleSet), "results": .array(results), "unreachable": .array(unreachable)],
        lines.map(Terminal.safe).joined(separator: "\n"))
      if unreachable.isEmpty { return }
      for node in unreachable { output.note("\(node.cell) did not answer: what waits there does so still") }
      throw ExitCode(ExitStatus.unavailable.rawValue)
    } daemon: { [interface, ruleSet] daemon in
      let waiting = try await daemon.status().attachments.filter {
        $0.confirmByUnixNanos > 0 && (ruleSet == nil || $0.ruleSet == ruleSet)
          && (interface.isEmpty || interface.contains($0.interface))
      }
      guard !waiting.isEmpty else {
        throw CommandError(.conflict, "conflict", "nothing waits for a confirmation: it stands, or the time was over")
      }
      // What was seen, and not what somebody applies meanwhile.
      let groups = Dictionary(grouping: waiting, by: { [$0.ruleSet, "\($0.revision)"] }).values.sorted {
        $0[0].interface < $1[0].interface
      }
      for (index, same) in groups.enumerated() {
        do { try await decide(daemon, same.map(\.interface), same[0].ruleSet, same[0].revision) } catch {
          guard index > 0 else { throw error }
          let names = groups[..<index].joined().map(\.interface).joined(separator: ", ")
          let reason = (error as? ControlError).map(CommandError.init) ?? CommandError(.failure, "failed", "\(error)")
          throw reason.after("\(names): \(done)")
        }
      }
      let results = waiting.map { attachment -> JSON in
        ["interface": .string(attachment.interface), "revision": .count(attachment.revision)]
      }
      let lines = waiting.map { "\($0.ruleSet) revision \($0.revision) on \($0.interface): \(done)" }
      output.write(["results": .array(results)], lines.map(Terminal.safe).joined(separator: "\n"))
    }
  }
}

struct Confirm: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Confirm what `apply --confirm-within` has made live: it stands.",
    discussion: """
      EXAMPLES
        sluice apply edge --confirm-within 60
        sluice confirm edge                            # from a new connection: that it comes to be is the proof
        sluice confirm --socket /run/sluice/sluiced.sock
      """)
  @OptionGroup var trial: TrialOptions

  func run() async throws {
    try await trial.run("confirm", "stands") { try await $0.confirm($1, ofRuleSet: $2, revision: $3) }
  }
}

struct Withdraw: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Go back now from what `apply --confirm-within` has made live.")
  @OptionGroup var trial: TrialOptions

  func run() async throws {
    try await trial.run("withdraw", "withdrawn, what was confirmed last decides") { try await $0.withdraw($1, ofRuleSet: $2, revision: $3) }
  }
}

extension RuleSetCommand {
  struct Compare: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "What differs between two revisions.",
      discussion: """
        EXAMPLES
          sluice rule-set compare edge 7            # with revision 6
          sluice rule-set compare edge 7 --from 3
        """)
    @Argument(help: "The rule set.")
    var name: String
    @Argument(help: "The revision that is looked at.")
    var revision: UInt64
    @Option(help: "The one that it is compared with; the one before where it is left out.")
    var from: UInt64?
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let path = APIClient.path("rule-sets", name, "revisions", "\(revision)", "diff")
        let answer = try await api.call(.get, path, query: from.map { [("from", "\($0)")] } ?? [])["data"]
        let text = try Self.text(answer)
        options.output.write(answer, text)
      }
    }

    static func text(_ answer: JSON) throws -> String {
      func line(_ rule: JSON) throws -> String { try RuleFile.line(rule) }
      var lines = ["revision \(answer["from"].cell) → \(answer["to"].cell)"]
      for setting in answer["settings"].elements {
        lines.append("  \(setting["name"].cell): \(setting["before"].cell) → \(setting["after"].cell)")
      }
      for set in answer["sets"].elements {
        lines.append("  @\(set["name"].cell): \(set["added"].cell) elements added, \(set["removed"].cell) removed")
      }
      for rule in answer["removed"].elements { lines.append("- \(try line(rule))") }
      for rule in answer["added"].elements { lines.append("+ \(try line(rule))") }
      for change in answer["changed"].elements {
        lines.append("- \(try line(change["before"]))")
        lines.append("+ \(try line(change["after"]))")
      }
      for name in answer["moved"].elements { lines.append("~ \(name.cell) moved") }
      return lines.map(Terminal.safe).joined(separator: "\n")
    }
  }

  struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a new revision of an older one's content. Takes effect when it is applied.")
    @Argument(help: "The rule set.")
    var name: String
    @Argument(help: "The older revision.")
    var revision: UInt64
    @Option(help: "Why, for the history.")
    var reason: String?
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let path = APIClient.path("rule-sets", name, "revisions", "\(revision)", "restore")
        let set = try await api.call(.post, path, query: reason.map { [("reason", $0)] } ?? [])["data"]
        options.output.write(
          set, "rule set \(set["name"].cell) is at revision \(set["revision"].cell), with the content of \(revision)")
      }
    }
  }
}
