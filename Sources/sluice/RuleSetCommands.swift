import ArgumentParser
import ControlProtocol
import Rules

struct RuleSetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rule-set", abstract: "Rule sets: ordered rules and what happens where none decides.",
    subcommands: [List.self, Create.self, Update.self, Show.self, Revisions.self, Compare.self, Restore.self, Delete.self, Approval.self, Approve.self, Reject.self,
    ])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "All rule sets.")
    @OptionGroup var order: SortOptions
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let sets = try await api.list("/rule-sets", query: order.query)
        var table = Table("RULE SET", ">REVISION", ">RULES", "DEFAULT", "CHANGED", "DESCRIPTION")
        for set in sets {
          table.add(
            set["name"].cell, set["revision"].cell, set["rule_count"].cell, set["default_action"].cell,
            set["updated_at"].cell, set["description"].cell)
        }
        options.output.write(.array(sets), table.text)
      }
    }
  }

  /// What a rule set says besides its rules.
  struct Policy: ParsableArguments {
    @Option(help: "What is it for?")
    var description: String?
    @Option(name: .customLong("default"), help: "What happens to packets that no rule decides. (pass, drop)")
    var defaultAction: FateWord?
    @Option(help: "What happens to malformed packets. (pass, drop)")
    var malformed: FateWord?
    @Option(
      name: .customLong("malformed-exception"),
      help: "REASON=pass or REASON=drop, for example bad_tcp=pass. Can be repeated; replaces all exceptions.")
    var exceptions: [String] = []

    func fields() throws(CommandError) -> [String: JSON] {
      var fields: [String: JSON] = [:]
      if let description { fields["description"] = .string(description) }
      if let defaultAction { fields["default_action"] = .string(defaultAction.rawValue) }
      if let malformed { fields["malformed"] = .string(malformed.rawValue) }
      guard !exceptions.isEmpty else { return fields }
      var map: [String: JSON] = [:]
      for exception in exceptions {
        let parts = exception.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2, FateWord(rawValue: parts[1]) != nil else {
          throw .usage("\"\(exception)\" is no exception: write REASON=pass or REASON=drop, such as bad_tcp=pass")
        }
        map[parts[0]] = .string(parts[1])
      }
      fields["malformed_exceptions"] = .object(map)
      return fields
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Create a rule set.",
      discussion: """
        EXAMPLES
          sluice rule-set create edge --default drop --description "the uplinks"
          sluice rule-set create edge --file edge.rules
        """)
    @Argument(help: "Its name: lower case letters, digits, '.', '_', '-'.")
    var name: String
    @OptionGroup var policy: Policy
    @Option(help: "Rules from a file, text or JSON; \"-\" is standard input.")
    var file: String?
    @OptionGroup var options: APIOptions

    func run() async throws {
      var body: [String: JSON] = [:]
      if let file { body = try RuleFile.read(file, name: name).body() }
      body.merge(try policy.fields()) { _, named in named }
      body["name"] = .string(name)
      let request = JSON.object(body)
      try await options.withAPI { api in
        let set = try await api.call(.post, "/rule-sets", body: request)["data"]
        options.output.write(set, "created rule set \(set["name"].cell), revision \(set["revision"].cell)")
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change what a rule set says besides its rules. Takes effect when it is applied.")
    @Argument(help: "The rule set.")
    var name: String
    @OptionGroup var policy: Policy
    @OptionGroup var options: APIOptions

    func run() async throws {
      let fields = try policy.fields()
      guard !fields.isEmpty else { throw CommandError.usage("nothing to change: name an option, see --help") }
      try await options.withAPI { api in
        let set = try await api.call(.patch, APIClient.path("rule-sets", name), body: .object(fields))["data"]
        options.output.write(set, "rule set \(set["name"].cell) is at revision \(set["revision"].cell)")
      }
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "A rule set as text, which `apply --file` reads.")
    @Argument(help: "The rule set.")
    var name: String
    @Option(help: "An older revision.")
    var revision: UInt64?
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let path = APIClient.path("rule-sets", name) + (revision.map { "/revisions/\($0)" } ?? "")
        let set = try await api.call(.get, path)["data"]
        let text = try RuleFile.text(set)
        options.output.write(set, text)
      }
    }
  }

  struct Revisions: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Who changed a rule set, and when.")
    @Argument(help: "The rule set.")
    var name: String
    @OptionGroup var order: SortOptions
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let revisions = try await api.list(APIClient.path("rule-sets", name, "revisions"), query: order.query)
        var table = Table(">REVISION", "MADE", "BY", ">RULES", "REASON")
        for revision in revisions {
          table.add(
            revision["revision"].cell, revision["created_at"].cell, revision["author"]["email"].cell,
            revision["rule_count"].cell, revision["reason"].cell)
        }
        options.output.write(.array(revisions), table.text)
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Delete a rule set and its revisions. Not while an attachment names it.")
    @Argument(help: "The rule set.")
    var name: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        _ = try await api.call(.delete, APIClient.path("rule-sets", name))
        options.output.write(["name": .string(name), "deleted": true], "deleted rule set \(Terminal.safe(name))")
      }
    }
  }
}

/// A rule set in a file: the text form, or the API's JSON.
struct RuleFile {
  let ruleSet: RuleSet

  /// JSON of as much as the text form may say is some times as long.
  private static let byteCountMax = 4 * Limits.textByteCountMax

  /// Reads and validates. `name` is the set's where the file doesn't say one, and replaces the one it says.
  static func read(_ path: String, name: String? = nil) throws(CommandError) -> RuleFile {
    let data = try InputFile.read(path, byteCountMax: byteCountMax)
    // Editors of other systems begin a file with a byte order mark.
    let text = data.dropFirst(RuleSetText.byteOrderMarkByteCount(at: data))
    return try RuleFile(
      text: String(decoding: text, as: UTF8.self), source: InputFile.name(path), name: name)
  }

  /// - Parameter isPart: chains and sets that it names may be elsewhere.
  init(text: String, source: String, name: String? = nil, isPart: Bool = false) throws(CommandError) {
    let first = text.first { !$0.isWhitespace }
    var ruleSet: RuleSet
    if first == "{" || first == "[" {
      ruleSet = try Self.fromJSON(text, source: source, name: name)
    } else {
      do throws(RuleTextError) {
        ruleSet = try RuleSetText.parse(text)
      } catch {
        throw CommandError(.usage, "validation_failed", "\(source): \(error)")
      }
    }
    if let name { ruleSet.name = name }
    try self.init(ruleSet, source: source, text: first == "{" || first == "[" ? nil : text, isPart: isPart)
  }

  /// - Parameters:
  ///   - text: The text form that it was read from, if it was.
  ///   - isPart: chains and sets that it names may be elsewhere.
  init(_ ruleSet: RuleSet, source: String, text: String? = nil, isPart: Bool = false) throws(CommandError) {
    do throws(InvalidRuleSet) {
      try ruleSet.checkValid()
    } catch {
      let elsewhere: [ValidationIssue.Code] = isPart ? [.unknownChain, .unknownSet] : []
      let issues = error.issues.filter { !elsewhere.contains($0.code) }
      self.ruleSet = ruleSet
      if issues.isEmpty { return }
      let places = text.map { RuleSetText.located(issues, in: $0) } ?? issues.map { _ in nil }
      throw CommandError(
        .usage, "validation_failed", "\(source) is not valid",
        details: .array(zip(issues, places).map { Self.fault($0, in: ruleSet, at: $1) }))
    }
    self.ruleSet = ruleSet
  }

  private static func fault(_ issue: ValidationIssue, in ruleSet: RuleSet, at place: RuleTextError?) -> JSON {
    let rule = IssueSubject(path: issue.path)?.ruleName(in: ruleSet)
    var members: [String: JSON] = [
      "path": .string(issue.path), "code": .string(issue.code.rawValue),
      "message": .string(rule.map { "rule \($0): \(issue.message)" } ?? issue.message),
    ]
    if let place {
      members["line"] = .count(place.line)
      members["column"] = .count(place.column)
      members["excerpt"] = .string(place.excerptWithCaret)
    }
    return .object(members)
  }

  /// What the API's answers say besides.
  private static let answers = ["id", "description", "created_at", "updated_at", "author", "reason", "team", "rule_count"]

  /// A misspelt member would be left out, and with it all that it says.
  private static func refuseUnknown(_ value: JSON, source: String) throws(CommandError) {
    let unknown = value.members.keys.filter { !RuleSet.fieldNames.contains($0) && !answers.contains($0) }.sorted()
    guard let first = unknown.first else { return }
    throw CommandError(
      .usage, "validation_failed",
      "\(source): a rule set has no \"\(first)\"; it has \(RuleSet.fieldNames.joined(separator: ", "))")
  }

  /// A rule set's object, or a list of rules.
  private static func fromJSON(_ text: String, source: String, name: String?) throws(CommandError) -> RuleSet {
    let bytes = Array(text.utf8)
    var value: JSON
    do throws(JSONSyntaxError) { value = try JSON(parsing: bytes) } catch {
      let place = RuleTextError(offset: error.offset, in: bytes, message: error.reason)
      throw CommandError(.usage, "validation_failed", "\(source) is not JSON: \(place)")
    }
    if case .array = value { value = ["rules": value] }
    if value["name"].string == nil, case .object(var members) = value {
      guard let name else {
        throw .usage("\(source) does not name its rule set: write {\"name\": …, \"rules\": […]}, or say it with the command")
      }
      members["name"] = .string(name)
      value = .object(members)
    }
    try refuseUnknown(value, source: source)
    do {
      return try value.decoded()
    } catch DecodingError.dataCorrupted(let context), DecodingError.keyNotFound(_, let context),
      DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context)
    {
      let path = context.codingPath.reduce("") { path, key in
        key.intValue.map { "\(path)[\($0)]" } ?? (path.isEmpty ? key.stringValue : "\(path).\(key.stringValue)")
      }
      throw CommandError(
        .usage, "validation_failed", "\(source): \(path.isEmpty ? "" : path + ": ")\(context.debugDescription)")
    } catch {
      throw CommandError(.usage, "validation_failed", "\(source): \(error)")
    }
  }

  /// For POST and PATCH: the content without its revision.
  func body() throws(CommandError) -> [String: JSON] {
    do {
      var members = try JSON.encoding(ruleSet).members
      members["revision"] = nil
      // Without them those that are there would stay.
      for list in ["chains", "sets"] where members[list] == nil { members[list] = [] }
      return members
    } catch {
      throw CommandError(.failure, "internal", "the rule set cannot be written as JSON: \(error)")
    }
  }

  /// The text form of a rule set of the API.
  /// One rule of the API's, as the text form has it.
  static func line(_ rule: JSON) throws(CommandError) -> String {
    do { return RuleSetText.print(try rule.decoded(as: Rule.self)) } catch {
      throw CommandError(.failure, "bad_answer", "the API's rule is not understood: \(error)")
    }
  }

  static func text(_ set: JSON) throws(CommandError) -> String {
    do {
      let text = RuleSetText.print(try set.decoded(as: RuleSet.self))
      return String(text.dropLast(text.hasSuffix("\n") ? 1 : 0))
    } catch {
      throw CommandError(.failure, "bad_answer", "the API's rule set is not understood: \(error)")
    }
  }
}
