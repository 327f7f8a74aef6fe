import LinuxSystem
import Logging

/// Changes of what is live, beside the state file.
extension Controller {
  /// Returns once changes are on the disk. Where there have been many, the state file takes over those before them first: whether
  /// it can or not, these are kept as long as the journal has room.
  func keep(_ entries: [ChangeJournal.Entry]) throws(ControlError) {
    if isStateBehind { try save() }
    if try journal.isFull || journaledRuleWork > Self.journaledRuleWorkMax { saveOrWarn() }
    try journal.append(
      entries.map { entry in
        var entry = entry
        entry.state = stateNumber
        return entry
      })
  }

  /// Seconds at the next start.
  private static let journaledRuleWorkMax = 20_000_000

  /// Behind a generation that went live although the disk may be full. What a failure leaves on the disk is a state from which the
  /// next daemon comes to the same: by the clock, or by a trial whose time is over.
  func saveGenerationOrWarn() {
    do throws(ControlError) {
      try save()
    } catch {
      isStateBehind = true
      logger.warning(
        "the state file stays as it was, and single rules and elements can't change until it is written",
        metadata: ["error": "\(error)"])
    }
  }

  /// The journal has what the state file lacks, or says more than is live until the file is written.
  func saveOrWarn() {
    do throws(ControlError) {
      try save()
    } catch {
      logger.warning("the state file stays as it was for now", metadata: ["error": "\(error)"])
    }
  }

  /// A journal whose lines could not all be read is put aside for people, and said loudly.
  func keepDamaged(_ damage: String) {
    let copy = "\(journal.path).damaged"
    var kept = "the journal is kept as \(copy)"
    do throws(SystemError) {
      try SmallFile.replace(copy, with: try SmallFile.read(journal.path, byteCountMax: ChangeJournal.readByteCountMax))
    } catch {
      kept = "the journal could not be kept: \(error)"
    }
    logger.critical(
      """
      \(damage). These changes of sets and rules are lost and all others are made: apply the rule sets to have them again; \(kept)
      """)
  }
}
