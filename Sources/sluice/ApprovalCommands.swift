import ArgumentParser
import Foundation

extension RuleSetCommand {
  struct Approval: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Whether somebody else has to approve revisions before they are applied, and what was decided.",
      discussion: """
        EXAMPLES
          sluice rule-set approval edge --require
          sluice rule-set approve edge 7 --comment 'as discussed'
        """)
    @Argument(help: "The rule set.")
    var name: String
    @Flag(help: "From now on somebody else has to.")
    var require = false
    @Flag(help: "From now on nobody has to.")
    var noRequire = false
    @OptionGroup var options: APIOptions

    func run() async throws {
      guard !(require && noRequire) else { throw CommandError.usage("--require and --no-require exclude each other") }
      try await options.withAPI { api in
        let path = APIClient.path("rule-sets", name, "approval")
        let state =
          require || noRequire
          ? try await api.call(.put, path, body: ["is_required": .bool(require)])["data"]
          : try await api.call(.get, path)["data"]
        var table = Table(">REVISION", "DECISION", "BY", "AT", "COMMENT")
        for decision in state["decisions"].elements {
          table.add(
            decision["revision"].cell, decision["decision"].cell, decision["by"]["email"].cell, decision["at"].cell,
            decision["comment"].cell)
        }
        let text = state["is_required"].bool == true ? "somebody else has to approve" : "nobody has to approve"
        options.output.write(state, table.isEmpty ? text : "\(text)\n\n\(table.text)")
      }
    }
  }

  struct Approve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Approve a revision that somebody else has written: it may be applied.")
    @OptionGroup var decision: Decision
    @OptionGroup var options: APIOptions
    func run() async throws { try await decision.send("approve", options) }
  }

  struct Reject: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Reject a revision: it must not be applied.")
    @OptionGroup var decision: Decision
    @OptionGroup var options: APIOptions
    func run() async throws { try await decision.send("reject", options) }
  }

  struct Decision: ParsableArguments {
    @Argument(help: "The rule set.")
    var name: String
    @Argument(help: "The revision's number.")
    var revision: UInt64
    @Option(help: "Why?")
    var comment = ""

    func send(_ verb: String, _ options: APIOptions) async throws {
      try await options.withAPI { api in
        let path = APIClient.path("rule-sets", name, "revisions", "\(revision)", verb)
        let made = try await api.call(.post, path, body: ["comment": .string(comment)])["data"]
        options.output.write(made, "\(made["decision"].cell) revision \(revision) of \(Terminal.safe(name))")
      }
    }
  }
}
