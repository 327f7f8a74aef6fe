/// What Package.swift says about the rooms, read from its text: a test inside `swift test` cannot ask SwiftPM, which
/// holds the build folder's lock.
struct Manifest {
  struct Target: Hashable {
    let name: String
    /// `target`, `executableTarget`, `testTarget` or `systemLibrary`.
    let kind: String
    /// Targets of this package and products of others, by name.
    let dependencies: Set<String>
  }

  let targets: [String: Target]

  init(_ text: String) {
    let code = SwiftText(text, keepsStrings: true).code
    let products = Manifest.productNames(code)
    var found: [String: Target] = [:]
    for kind in ["target", "executableTarget", "testTarget", "systemLibrary"] {
      for body in Manifest.bodies(behind: ".\(kind)(", in: code) {
        guard let name = Manifest.string(behind: "name: ", in: body) else { continue }
        let list = Manifest.bodies(behind: "dependencies: [", in: body).first ?? ""
        let dependencies = Manifest.elements(list).compactMap { element -> String? in
          if element.hasPrefix("\"") { return element.trimmed("\"") }
          if element.hasPrefix(".") { return Manifest.string(behind: "name: ", in: element) }
          return products[element] ?? element
        }
        found[name] = Target(name: name, kind: kind, dependencies: Set(dependencies))
      }
    }
    targets = found
  }

  /// `let x = Target.Dependency.product(name: "X", …)`, by `x`.
  private static func productNames(_ code: String) -> [String: String] {
    var names: [String: String] = [:]
    for line in code.split(separator: "\n") where line.hasPrefix("let ") && line.contains("Dependency.product(") {
      let variable = line.dropFirst(4).prefix { $0 != " " }
      names[String(variable)] = string(behind: "name: ", in: String(line))
    }
    return names
  }

  /// The text between each occurrence of `opening`, which ends with a bracket, and the bracket that closes it.
  private static func bodies(behind opening: String, in code: String) -> [String] {
    var result: [String] = []
    var rest = code[...]
    while let start = rest.firstRange(of: opening) {
      let body = rest[start.upperBound...]
      var depth = 1
      let end = body.firstIndex { character in
        if "([".contains(character) { depth += 1 }
        if ")]".contains(character) { depth -= 1 }
        return depth == 0
      }
      result.append(String(body[..<(end ?? body.endIndex)]))
      rest = rest[start.upperBound...]
    }
    return result
  }

  /// Splits at commas that stand in no bracket.
  private static func elements(_ list: String) -> [String] {
    var depth = 0
    let parts = list.split { character in
      if "([".contains(character) { depth += 1 }
      if ")]".contains(character) { depth -= 1 }
      return depth == 0 && character == ","
    }
    return parts.map { $0.filter { !$0.isWhitespace || $0 == " " }.trimmed(" ") }.filter { !$0.isEmpty }
  }

  private static func string(behind label: String, in text: String) -> String? {
    guard let range = text.firstRange(of: label + "\"") else { return nil }
    return String(text[range.upperBound...].prefix { $0 != "\"" })
  }
}

extension String {
  fileprivate func trimmed(_ character: Character) -> String {
    String(drop { $0 == character }.reversed().drop { $0 == character }.reversed())
  }
}
