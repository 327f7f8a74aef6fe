import ArgumentParser
import Foundation
import Packets
import Rules

struct RuleCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rule",
    abstract: "The rules of a rule set. The first that matches a packet decides. Changes take effect by `apply`.",
    subcommands: [Add.self, List.self, Show.self, Move.self, Remove.self])

  /// Where a rule goes.
  struct Placement: ParsableArguments {
    @Option(name: .customLong("at"), help: "At this position; the first is 0.")
    var position: UInt?
    @Option(help: "Before this rule.")
    var before: String?
    @Option(help: "After this rule.")
    var after: String?

    func fields(isRequired: Bool) throws(CommandError) -> [String: JSON] {
      var fields: [String: JSON] = [:]
      if let position { fields["position"] = .count(position) }
      if let before { fields["before"] = .string(before) }
      if let after { fields["after"] = .string(after) }
      guard fields.count < 2, !isRequired || !fields.isEmpty else {
        throw .usage("say where\(isRequired ? "" : " once"): one of --at, --before and --after")
      }
      return fields
    }
  }

  struct Add: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Add a rule, at the end unless a place is named.",
      discussion: """
        Every kind of option that is given must match; of one kind any does. Without options the rule matches all. A list
        that begins with ! is negated: --source '!10.0.0.0/8,192.0.2.1' matches all sources but these.

        EXAMPLES
          sluice rule add edge no-telnet --protocol tcp --destination-port 23 --action drop
          sluice rule add edge new-only --protocol tcp --tcp-flags 'syn/syn|ack' --interface eth0 --action count
          sluice rule add edge guests --vlan 100-199 --destination '!192.0.2.0/24' --action drop
          sluice rule add edge dns --protocol udp --destination-port 53,853 --source 10.0.0.0/8 --action count --at 0
          sluice rule add edge to-lab --destination 2001:db8::/32 --action redirect --redirect-to eth1
          sluice rule add edge inbound --destination 203.0.113.0/24 --action jump --chain services
          sluice rule add edge no-blocked --source @blocked --action drop
          sluice rule add edge incident --source 198.51.100.0/24 --action drop --expires 4h
          sluice rule add edge --text "rule web: tcp dport 80, 443 pass  # the proxies"
        """)
    @Argument(help: "The rule set.")
    var ruleSet: String
    @Argument(help: "The rule's name, to which its counters belong.")
    var name: String?
    @Option(help: "The whole rule in one line, as `rule-set show` prints it.")
    var text: String?
    @OptionGroup(title: "WHAT MATCHES") var match: MatchOptions
    @Option(help: "pass, drop, count (and go on), capture, redirect, jump, goto or return.")
    var action: String?
    @Option(help: "The interface to redirect to.")
    var redirectTo: String?
    @Option(help: "The chain to jump or to go to.")
    var chain: String?
    @Option(help: "A note, at most 256 bytes.")
    var comment: String?
    @Option(help: "Names to find the rule by; lists with commas.")
    var tag: [String] = []
    @Option(help: "Whom to ask about the rule.")
    var owner: String?
    @Option(help: "When it ends: a moment like 2026-11-21T15:38:47Z, or a time from now like 90s, 30m, 12h or 7d.")
    var expires: String?
    @Flag(help: "Keep the rule without effect.")
    var disabled = false
    @OptionGroup var placement: Placement
    @OptionGroup var options: APIOptions

    func run() async throws {
      var body = try JSON.encoding(try rule()).members
      body.merge(try placement.fields(isRequired: false)) { _, place in place }
      let request = JSON.object(body)
      try await options.withAPI { api in
        let rule = try await api.call(.post, APIClient.path("rule-sets", ruleSet, "rules"), body: request)["data"]
        options.output.write(rule, "added \(rule["name"].cell) to \(ruleSet) at \(rule["position"].cell)")
        options.output.note("it takes effect with: sluice apply \(ruleSet)")
      }
    }

    /// The rule that the options say; its faults are found here, before anything is sent.
    func rule() throws(CommandError) -> Rule {
      if let text { return try parse(text) }
      guard let name else { throw .usage("a rule needs a name: sluice rule add \(ruleSet) NAME …") }
      guard let action else { throw .usage("a rule needs --action: \(Action.names.joined(separator: ", "))") }
      let expiry = try expires.map { (text) throws(CommandError) -> Expiry in
        do throws(ValueTextError) { return try Expiry(parsing: text) } catch {
          throw .usage("--expires: \(error)")
        }
      }
      let value: JSON = [
        "name": .string(name), "match": try match.json(), "action": .string(action), "redirect_to": .optional(redirectTo),
        "chain": .optional(chain),
        "comment": .string(comment ?? ""), "enabled": .bool(!disabled),
        "tags": .strings(tag.commaSeparated), "owner": .string(owner ?? ""),
      ]
      var rule = try RuleFile(text: JSON.array([value]).text(), source: "the rule", name: "x", isPart: true).ruleSet.rules[0]
      rule.expiry = expiry
      return rule
    }

    private func parse(_ text: String) throws(CommandError) -> Rule {
      guard name == nil, action == nil, redirectTo == nil, chain == nil, comment == nil, !disabled, match.isEmpty, tag.isEmpty,
        owner == nil, expires == nil
      else {
        throw .usage("--text holds the whole rule: leave out its name and the other options")
      }
      guard !text.contains(where: \.isNewline) else { throw .usage("--text takes one rule, in one line: rule NAME: … ACTION") }
      let rule: Rule
      do throws(RuleTextError) {
        rule = try RuleSetText.parseRule(text)
      } catch {
        throw CommandError(.usage, "validation_failed", "--text: \(error)")
      }
      return try RuleFile(RuleSet(name: "x", rules: [rule]), source: "--text", isPart: true).ruleSet.rules[0]
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The rules in order.")
    @Argument(help: "The rule set.")
    var ruleSet: String
    @Option(help: "Those with this tag.")
    var tag: String?
    @Option(help: "Those of this owner.")
    var owner: String?
    @OptionGroup var order: SortOptions
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let rules = try await api.list(APIClient.path("rule-sets", ruleSet, "rules"), query: order.query).filter { rule in
          (tag.map { rule["tags"].elements.contains(.string($0)) } ?? true) && (owner.map { rule["owner"] == .string($0) } ?? true)
        }
        options.output.write(.array(rules), RuleCommand.table(rules))
      }
    }
  }

  static func table(_ rules: [JSON]) -> String {
    var table = Table(">#", "RULE", "ACTION", "SOURCE", "DESTINATION", "PROTOCOL", "SPORT", "DPORT", "ALSO", "COMMENT")
    for (index, rule) in rules.enumerated() {
      let match = rule["match"]
      let target = (rule["redirect_to"].string ?? rule["chain"].string).map { " " + $0 } ?? ""
      let disabled = rule["enabled"].bool == false ? " (disabled)" : ""
      let end = rule["expires_at"].string.map { rule["expired"].bool == true ? "expired \($0)" : "until \($0)" }
      table.add(
        "\(rule["position"].integer ?? Int64(index))", rule["name"].cell, rule["action"].cell + target + disabled,
        condition(match["sources"]), condition(match["destinations"]), condition(match["protocols"]),
        condition(match["source_ports"]), condition(match["destination_ports"]),
        (others(of: match) + [end].compactMap(\.self)).joined(separator: "; "),
        rule["comment"].cell)
    }
    return table.text
  }

  /// A condition as the options of `rule add` have it.
  private static func condition(_ value: JSON) -> String {
    value.object == nil ? value.cell : "!" + value["not"].cell
  }

  /// What has no column of its own.
  private static func others(of match: JSON) -> [String] {
    let columns = ["sources", "destinations", "protocols", "source_ports", "destination_ports"]
    return Match.fieldNames.filter { !columns.contains($0) && match[$0] != .null }
      .map { "\($0) \(condition(match[$0]))" }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "One rule.")
    @Argument(help: "The rule set.")
    var ruleSet: String
    @Argument(help: "The rule.")
    var name: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let rule = try await api.call(.get, APIClient.path("rule-sets", ruleSet, "rules", name))["data"]
        options.output.write(rule, RuleCommand.table([rule]))
      }
    }
  }

  struct Move: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Move a rule in the order.",
      discussion: """
        EXAMPLES
          sluice rule move edge no-telnet --at 0
          sluice rule move edge no-telnet --before web
        """)
    @Argument(help: "The rule set.")
    var ruleSet: String
    @Argument(help: "The rule.")
    var name: String
    @OptionGroup var placement: Placement
    @OptionGroup var options: APIOptions

    func run() async throws {
      let body = JSON.object(try placement.fields(isRequired: true))
      try await options.withAPI { api in
        let path = APIClient.path("rule-sets", ruleSet, "rules", name, "move")
        let rule = try await api.call(.post, path, body: body)["data"]
        options.output.write(rule, "\(Terminal.safe(name)) is at \(rule["position"].cell)")
      }
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Remove rules.")
    @Argument(help: "The rule set.")
    var ruleSet: String
    @Argument(help: "The rules.")
    var names: [String]
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        for (index, name) in names.enumerated() {
          do {
            _ = try await api.call(.delete, APIClient.path("rule-sets", ruleSet, "rules", name))
          } catch var error as CommandError where index > 0 {
            error.message = "\(name): \(error.message)"
            throw error.after("removed \(names[..<index].joined(separator: ", "))")
          }
        }
        options.output.write(
          ["rule_set": .string(ruleSet), "removed": .strings(names)],
          Terminal.safe("removed \(names.joined(separator: ", ")) from \(ruleSet)"))
      }
    }
  }
}
