import ArgumentParser
import ControlProtocol
import LinuxSystem
import Rules

struct RulesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rules", abstract: "Files of rules, without an API or a daemon.", subcommands: [Check.self])

  struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Find rules that are wrong, do nothing, or do nothing of their own.",
      discussion: """
        Reads a rule set, text or JSON, and compares its rules with each other. What is reported is proven, with the rules \
        that say why and a packet as an example:

          contradictory  no packet shows all that the rule asks for
          shadowed       a rule above matches all its packets, and decides otherwise
          never_hit      rules above together match all its packets
          redundant      without it every packet would be decided the same
          undecided      too much work to tell

        EXIT STATUS
          0 nothing found   1 something found   2 the file can't be read, or isn't a valid rule set

        EXAMPLES
          sluice rules check edge.rules
          sluice rule-set show edge | sluice rules check - --json
        """)
    @Argument(help: "The file; \"-\" is standard input.")
    var file: String
    @Option(help: "Steps of work at most, each a comparison of two rules.")
    var budget = Limits.analysisStepsMax
    @OptionGroup var outputOptions: OutputOptions

    func validate() throws {
      if budget < 0 { throw ValidationError("--budget is not negative") }
    }

    func run() async throws {
      let ruleSet = try RuleFile.read(file).ruleSet
      let warnings = ruleSet.validate()
      let now = Int64(SystemClock.realtimeNanoseconds() / 1_000_000)
      let analysis = ruleSet.analysis(budget: budget, atUnixMilliseconds: now)
      var members = analysis.json.members
      members["rule_set"] = .string(ruleSet.name)
      members["warnings"] = .array(warnings.map(\.json))
      outputOptions.output.write(.object(members), Self.text(warnings, analysis))
      if !warnings.isEmpty || !analysis.findings.isEmpty { throw ExitCode(ExitStatus.failure.rawValue) }
    }

    static func text(_ warnings: [ValidationIssue], _ analysis: RuleSetAnalysis) -> String {
      var lines = warnings.map(\.description) + analysis.findings.map(\.description)
      let counts = RuleFinding.Kind.allCases.compactMap { kind -> String? in
        let count = kind == .undecided ? analysis.undecidedCount : analysis.findings.count { $0.kind == kind }
        return count == 0 ? nil : "\(count) \(kind.rawValue)"
      }
      let summary = counts.isEmpty ? "each of them decides about packets of its own" : counts.joined(separator: ", ")
      if analysis.isCut { lines.append("there are more than these \(analysis.findings.count) findings") }
      lines.append("\(analysis.ruleCount) rules: \(summary)")
      return lines.map(Terminal.safe).joined(separator: "\n")
    }
  }
}
