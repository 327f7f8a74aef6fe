import ArgumentParser
import Foundation
import Rules

/// The sets of a rule set.
struct SetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "The sets of a rule set: prefixes or ports that its rules name, as @NAME.",
    discussion: """
      A change takes effect when the rule set is applied; with --apply at once, wherever the revision before it is applied: large \
      sets are changed in the live tables, and nothing is compiled.

      EXAMPLES
        sluice set create edge blocked --type ipv4_addr 192.0.2.0/24 198.51.100.7
        sluice rule add edge no-blocked --source @blocked --action drop --at 0
        sluice set add edge blocked 203.0.113.9 --apply
        sluice set replace edge blocked --file today.txt
        sluice apply edge
      """,
    subcommands: [List.self, Create.self, Show.self, Add.self, Remove.self, Replace.self, Delete.self],
    aliases: ["sets"])

  /// Elements on the command line or in a file.
  struct Elements: ParsableArguments {
    @Argument(help: "Prefixes or ports: 192.0.2.0/24, 2001:db8::1, 8000-8080.")
    var elements: [String] = []
    @Option(help: "More of them, one in a line or with blanks or commas between; # begins a comment; - is standard input.")
    var file: String?

    func all() throws(CommandError) -> [String] {
      guard let file else { return elements }
      let data: Data
      do {
        data = file == "-"
          ? try FileHandle.standardInput.readToEnd() ?? Data() : try Data(contentsOf: URL(filePath: file))
      } catch {
        throw .usage("cannot read \(file): \(error.localizedDescription)")
      }
      guard data.count <= Limits.textByteCountMax else {
        throw .usage("\(file) has \(data.count) bytes; at most \(Limits.textByteCountMax) are read")
      }
      return elements + Self.words(data)
    }

    static func words(_ data: some Sequence<UInt8>) -> [String] {
      var words: [String] = []
      var word: [UInt8] = []
      var isComment = false
      for byte in data {
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

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The sets, without their elements.")
    @Argument(help: "The rule set.")
    var ruleSet: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let sets = try await api.list(APIClient.path("rule-sets", ruleSet, "sets"))
        var table = Table("SET", "TYPE", ">ELEMENTS", "COMMENT")
        for set in sets {
          table.add(set["name"].cell, set["type"].cell, set["element_count"].cell, set["comment"].cell)
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
    @OptionGroup var elements: Elements
    @OptionGroup var options: APIOptions

    func run() async throws {
      let body: JSON = [
        "name": .string(name), "type": .string(type), "comment": .string(comment ?? ""),
        "elements": .strings(try elements.all()),
      ]
      try await options.withAPI { api in
        let set = try await api.call(.post, APIClient.path("rule-sets", ruleSet, "sets"), body: body)["data"]
        options.output.write(set, "made @\(set["name"].cell) with \(set["element_count"].cell) elements")
      }
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The elements of a set, one in a line.")
    @Argument(help: "The rule set.")
    var ruleSet: String
    @Argument(help: "The set.")
    var name: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let elements = try await api.list(APIClient.path("rule-sets", ruleSet, "sets", name, "elements"))
        options.output.write(.array(elements), elements.map(\.cell).joined(separator: "\n"))
      }
    }
  }

  struct Add: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Add elements.")
    @OptionGroup var change: Change

    func run() async throws { try await change.run(.post, "elements", "added") }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Remove elements.")
    @OptionGroup var change: Change

    func run() async throws { try await change.run(.post, "elements/remove", "removed") }
  }

  struct Replace: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Replace all elements: what isn't named goes.")
    @OptionGroup var change: Change

    func run() async throws { try await change.run(.put, "elements", "changed") }
  }

  struct Change: ParsableArguments {
    @Argument(help: "The rule set.")
    var ruleSet: String
    @Argument(help: "The set.")
    var name: String
    @OptionGroup var elements: Elements
    @Flag(help: "Change what is live, too.")
    var apply = false
    @OptionGroup var options: APIOptions

    func run(_ method: APIClient.Method, _ path: String, _ verb: String) async throws {
      let body: JSON = ["elements": .strings(try elements.all())]
      try await options.withAPI { api in
        let place = APIClient.path("rule-sets", ruleSet, "sets", name) + "/" + path
        let answer = try await api.call(method, place, query: apply ? [("apply", "true")] : [], body: body)["data"]
        options.output.write(
          answer, Terminal.safe("\(verb) \(answer["changed"].cell); @\(name) has \(answer["element_count"].cell)"))
        if !apply { options.output.note("it takes effect with: sluice apply \(ruleSet)") }
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Delete a set that no rule names.")
    @Argument(help: "The rule set.")
    var ruleSet: String
    @Argument(help: "The set.")
    var name: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        _ = try await api.call(.delete, APIClient.path("rule-sets", ruleSet, "sets", name))
        options.output.write(["name": .string(name), "deleted": true], Terminal.safe("deleted @\(name)"))
      }
    }
  }
}
