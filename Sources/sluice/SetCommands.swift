import ArgumentParser
import Packets
import Rules

/// The sets of a rule set.
struct SetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "The sets of a rule set: prefixes or ports that its rules name, as @NAME.",
    discussion: """
      An element may end: the daemons take it out by themselves, also without the API. Adding it once more renews it.
      A change takes effect when the rule set is applied; with --apply at once, wherever the revision before it is applied: large \
      sets are changed in the live tables, and nothing is compiled.

      EXAMPLES
        sluice set create edge blocked --type ipv4_addr 192.0.2.0/24 198.51.100.7
        sluice rule add edge no-blocked --source @blocked --action drop --at 0
        sluice set add edge blocked 203.0.113.9 --apply
        sluice set add edge blocked 203.0.113.9 203.0.113.10 --ttl 12h --apply
        sluice set add edge blocked '203.0.113.9 timeout 12h' '198.51.100.7 expires 2026-11-21T15:38:47Z'
        sluice set replace edge blocked --file today.txt
        sluice set import edge blocked million.txt --apply
        sluice set update edge blocked --counters
        sluice set top edge blocked
        sluice apply edge
      """,
    subcommands: [
      List.self, Create.self, Update.self, Show.self, Top.self, Add.self, Remove.self, Replace.self, Import.self, Export.self,
      Delete.self,
    ],
    aliases: ["sets"])

  /// Elements on the command line or in a file.
  struct Elements: ParsableArguments {
    @Argument(help: "Prefixes or ports: 192.0.2.0/24, 2001:db8::1, 8000-8080.")
    var elements: [String] = []
    @Option(
      help: """
        More of them, one in a line or with blanks or commas between; behind one may stand its end: timeout 12h, or expires \
        and a moment; # begins a comment; - is standard input.
        """)
    var file: String?

    func all() throws(CommandError) -> [String] {
      guard let file else { return Self.withEnds(elements) }
      return Self.withEnds(elements + Self.words(try InputFile.read(file)))
    }

    /// The same of a command that means some: a file that came out empty must not pass for an order.
    ///
    /// - Parameter remedy: What else may have been meant.
    func some(_ remedy: String = "") throws(CommandError) -> [String] {
      let all = try all()
      if !all.isEmpty { return all }
      throw .usage((file.map { "\(InputFile.name($0)) has no elements" } ?? "name elements, or a file with --file") + remedy)
    }

    /// A word that says when an element ends, and the next one, belong to the element before them.
    static func withEnds(_ words: [String]) -> [String] {
      var result: [String] = []
      var isOpen = false
      for word in words {
        let isEnd = word == "timeout" || word == "expires"
        if (isEnd || isOpen), let last = result.indices.last {
          result[last] += " \(word)"
          isOpen = isEnd
        } else {
          result.append(word)
        }
      }
      return result
    }

    static func words(_ data: [UInt8]) -> [String] {
      var words: [String] = []
      var word: [UInt8] = []
      var isComment = false
      for byte in data.dropFirst(RuleSetText.byteOrderMarkByteCount(at: data)) {
        if byte == 0x0a { isComment = false }
        if byte == 0x23 { isComment = true }
        if isComment || byte <= 0x20 || byte == 0x2c {
          if !word.isEmpty { words.append(String(decoding: word, as: UTF8.self)) }
          word.removeAll(keepingCapacity: true)
        } else {
          word.append(byte)
        }
      }
      return word.isEmpty ? words : words + [String(decoding: word, as: UTF8.self)]
    }
  }

  /// When elements end.
  struct End: ParsableArguments {
    @Option(
      name: [.customLong("ttl"), .customLong("expires")],
      help: "When they end that don't say it: a time from now like 90s, 30m, 12h or 7d, or a moment like 2026-11-21T15:38:47Z.")
    var end: String?

    func fields() throws(CommandError) -> [String: JSON] {
      guard let end else { return [:] }
      do throws(ValueTextError) {
        switch try Expiry(parsing: end) {
        case .at: return ["expires_at": .string(end)]
        case .after(let seconds): return ["ttl_seconds": .integer(seconds)]
        }
      } catch {
        throw .usage("--ttl: \(error)")
      }
    }
  }

  /// One set.
  struct Target: ParsableArguments {
    @Argument(help: "The rule set.")
    var ruleSet: String
    @Argument(help: "The set.")
    var name: String

    var path: String { APIClient.path("rule-sets", ruleSet, "sets", name) }

    /// What came of a change of its elements.
    func tell(_ answer: JSON, _ verb: String, isApplied: Bool, _ output: Output) {
      var lines = ["\(verb) \(answer["changed"].cell); @\(name) has \(answer["element_count"].cell)"]
      for result in answer["applied"].elements {
        guard let deadline = result["confirm_by"].string else { continue }
        lines.append(
          "on \(Apply.place(result)) until \(deadline), unless the rule set is confirmed: sluice confirm \(ruleSet)")
      }
      output.write(answer, lines.map(Terminal.safe).joined(separator: "\n"))
      if !isApplied { output.note("it takes effect with: sluice apply \(ruleSet)") }
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The sets, without their elements.")
    @Argument(help: "The rule set.")
    var ruleSet: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let sets = try await api.list(APIClient.path("rule-sets", ruleSet, "sets"))
        var table = Table("SET", "TYPE", ">ELEMENTS", ">ENDING", "NEXT", "COUNTERS", "COMMENT")
        for set in sets {
          table.add(
            set["name"].cell, set["type"].cell, set["element_count"].cell, set["expiring_count"].cell, set["next_expiry"].cell,
            set["counters"].cell,
            set["comment"].cell)
        }
        options.output.write(.array(sets), table.text)
      }
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make a set.")
    @Argument(help: "The rule set.")
    var ruleSet: String
    @Argument(help: "The set's name.")
    var name: String
    @Option(help: "ipv4_addr, ipv6_addr or inet_service.")
    var type: String
    @Option(help: "A note, at most 256 bytes.")
    var comment: String?
    @Flag(help: "Count packets and bytes for each element; of addresses.")
    var counters = false
    @OptionGroup var elements: Elements
    @OptionGroup var end: End
    @OptionGroup var options: APIOptions

    func run() async throws {
      let members: [String: JSON] = [
        "name": .string(name), "type": .string(type), "comment": .string(comment ?? ""),
        "elements": .strings(try elements.all()), "counters": .bool(counters),
      ]
      let body = JSON.object(members.merging(try end.fields()) { $1 })
      try await options.withAPI { api in
        let set = try await api.call(.post, APIClient.path("rule-sets", ruleSet, "sets"), body: body)["data"]
        options.output.write(set, "made @\(set["name"].cell) with \(set["element_count"].cell) elements")
      }
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The elements of a set, one in a line.")
    @OptionGroup var target: Target
    @Flag(help: "With what each has counted, on all attachments together.")
    var counters = false
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        if counters {
          let elements = try await api.list(target.path + "/counters")
          options.output.write(.array(elements), SetCommand.table(elements))
          return
        }
        let elements = try await api.list(target.path + "/elements")
        options.output.write(.array(elements), elements.map(\.cell).joined(separator: "\n"))
      }
    }
  }

  struct Add: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Add elements.")
    @OptionGroup var change: Change
    @OptionGroup var end: End

    func run() async throws { try await change.run(.post, "elements", "added", try change.elements.some(), try end.fields()) }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Remove elements.")
    @OptionGroup var change: Change

    func run() async throws { try await change.run(.post, "elements/remove", "removed", try change.elements.some()) }
  }

  struct Replace: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Replace all elements: what isn't named goes.")
    @OptionGroup var change: Change
    @Flag(help: "No elements are meant: the set shall be empty.")
    var empty = false
    @OptionGroup var end: End

    func run() async throws {
      if empty, try !change.elements.all().isEmpty { throw CommandError.usage("--empty, and elements") }
      let elements = empty ? [] : try change.elements.some("; --empty empties the set")
      try await change.run(.put, "elements", "changed", elements, try end.fields())
    }
  }

  struct Change: ParsableArguments {
    @OptionGroup var target: Target
    @OptionGroup var elements: Elements
    @Flag(help: "Change what is live, too.")
    var apply = false
    @OptionGroup var options: APIOptions

    func run(
      _ method: APIClient.Method, _ path: String, _ verb: String, _ elements: [String], _ end: [String: JSON] = [:]
    ) async throws {
      let body = JSON.object(end.merging(["elements": .strings(elements)]) { $1 })
      try await options.withAPI { api in
        let query = apply ? [("apply", "true")] : []
        let answer = try await api.call(method, "\(target.path)/\(path)", query: query, body: body)["data"]
        target.tell(answer, verb, isApplied: apply, options.output)
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Delete a set that no rule names.")
    @OptionGroup var target: Target
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        _ = try await api.call(.delete, target.path)
        options.output.write(["name": .string(target.name), "deleted": true], Terminal.safe("deleted @\(target.name)"))
      }
    }
  }
}
