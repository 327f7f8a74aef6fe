import ArgumentParser

extension SetCommand {
  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change what a set says beside its elements. Takes effect when the rule set is applied.",
      discussion: """
        EXAMPLES
          sluice set update edge blocked --counters
          sluice set update edge blocked --no-counters --comment 'the list of the day'
        """)
    @OptionGroup var target: Target
    @Option(help: "A note, at most 256 bytes.")
    var comment: String?
    @Flag(inversion: .prefixedNo, help: "Count packets and bytes for each element; of addresses.")
    var counters: Bool?
    @OptionGroup var options: APIOptions

    func run() async throws {
      var body: [String: JSON] = [:]
      if let comment { body["comment"] = .string(comment) }
      if let counters { body["counters"] = .bool(counters) }
      guard !body.isEmpty else { throw CommandError.usage("say what changes: --counters, --no-counters or --comment") }
      let changes = JSON.object(body)
      try await options.withAPI { api in
        let set = try await api.call(.patch, target.path, body: changes)["data"]
        options.output.write(
          set, "changed @\(set["name"].cell); its elements \(set["counters"] == .bool(true) ? "count" : "don't count")")
        options.output.note("it takes effect with: sluice apply \(target.ruleSet)")
      }
    }
  }

  struct Top: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The elements that have counted the most packets.",
      discussion: """
        Of a set with counters. A rule that counts a packet, because it decides or because it lets it go on, counts it at the \
        longest element that holds its address, in each set that the rule names and does not negate.

        EXAMPLES
          sluice set top edge blocked
          sluice set top edge blocked --limit 100 --json
        """)
    @OptionGroup var target: Target
    @Option(help: "So many, 1 to 1000.")
    var limit = 20
    @OptionGroup var options: APIOptions

    func run() async throws {
      guard (1...1000).contains(limit) else { throw CommandError.usage("--limit \(limit) is out of range: 1 to 1000") }
      try await options.withAPI { api in
        let top = try await api.call(.get, target.path + "/top", query: [("limit", "\(limit)")])["data"]
        options.output.write(
          top,
          SetCommand.table(top["elements"].elements)
            + Terminal.safe("\n\(top["counting"].cell) elements have counted \(top["packets"].cell) packets, \(top["bytes"].cell) bytes"))
      }
    }
  }

  static func table(_ elements: [JSON]) -> String {
    var table = Table("ELEMENT", ">PACKETS", ">BYTES")
    for element in elements { table.add(element["element"].cell, element["packets"].cell, element["bytes"].cell) }
    return table.text
  }
}
