/** The run that showed each bug last: written by npm run mutants -- --record. */
export const recordedRuns: Readonly<Record<string, string>> = {
  'a candidate counts its own vote in the incoming half only':
    '12 | liveness | 2000 | crash by kill @ 377.0558867018567 # 6088b04fdd79fa5077c5f1ea02fda882',
  'a change is made before the first commit of the term':
    '6 | leader completeness | 8000 | changes of two leaders @ 874.2888781407789 # f4afd1daad278b850de28d4c63ec10ea | changes of two leaders @ 3536.2931798115524 # 8d70cf286f54c8ae3df8fea3dc309f2b | crash by kill @ 4272.975040090609 # 1d688e8cdfdc5a406d2217b8c03dc3df | crash by kill @ 5185.373268361801 # 9e713b62e3989dcf91b8a36517b2591c',
  'a command of a version that is not known is passed over': '2 | state machine safety | 250',
  'a damaged record in the middle of the log is taken for a torn tail':
    '3 | simulation | 4000 | all connections closed @ 516.6968513264492 # 65730e57fcb47bc74573d545929c2287 | all connections closed @ 634.9825840379211 # f3c197a6517d7040d05142260f29b067 | bit rot @ 2984.270092427918 # 11872bf204120b4e26a57cf7ae85db87',
  'a destroyed replica begins again under its id':
    '8 | one vote a term | 8000 | leader cut off @ 3375.7728874210347 # 1bd0a931232ae8f48a9e42a7738ab4cc | crash by power cut @ 4346.220789970181 # 2e2e3fc619a364a880b9328b90ce7534',
  'a failed sync is tried again, and then taken for good': '1 | the log is whole | all',
  'a follower acknowledges its whole log':
    '5 | committed is durable on a majority | 2000 | bit rot @ 293.13240361909504 # 02ff797c595e21b3e67c2543a0f01357 | leader cut off, its successor crashes when it is back @ 621.5248504980204 # ac1011942b85ed8c99d941018fcf7ad9 | partition isolateIn @ 643.5219616926527 # d55bd10cac4e2cac8d64938e4e164f71 | leader cut off @ 983.2333086380922 # 613dd01702f5cd75a03ddf8f3c9f26af | leader cut off @ 1252.7062160272906 # 41d13b431c32aca3dee9891836bcb02f',
  'a follower commits beyond what was proven':
    '3 | state machine safety | 2000 | leader alone for longer than its lease @ 843.903260765385 # 9b4d480779af6e262a459dc8124ec9d5',
  'a follower reads what it knows to be committed without asking': '1 | linearizable reads | 4000',
  'a follower that lags behind holds the log for ever': '3 | the log is bounded | 8000',
  'a follower that starts again does not ask for the proof of what it has':
    '231 | liveness | all | rolling restart @ 1271.5261941933054 # 2174d2e4ca0dbde7efe1fd5fb10cbdc0 | crash of all @ 3772.222171049692 # 4a889b4c1ea85f7f07c6558329affaf1 | leader cut off from all but one, which comes and goes @ 6004.329015004253 # 1701028e4fe424378382979482c279bc',
  'a follower uses the ids of its questions again': '3 | linearizable reads | 8000',
  'a group goes to rest although a replica lacks something': '1 | nothing is left to do at rest | 1000',
  'a group is recovered with the log of any survivor': '14 | leader completeness | 1000',
  'a joint configuration commits by the majority of all voters together':
    '3 | committed is durable on a majority | 1000 | all connections closed @ 634.9825840379211 # f3c197a6517d7040d05142260f29b067',
  'a joint configuration confirms reads by one half':
    '8 | linearizable reads | 4000 | halves of a joint configuration cut off from each other @ 522.4285162935199 # 13110fb55bd88f2206afc81ac0f8b523 | halves of a joint configuration cut off from each other @ 2054.1539540517592 # 0aa463d13cb839aa3166b22fdb18623c',
  'a joint configuration elects by the votes of one half':
    '3 | election safety | all | all connections closed @ 516.6968513264492 # 65730e57fcb47bc74573d545929c2287 | all connections closed @ 634.9825840379211 # f3c197a6517d7040d05142260f29b067 | leader alone for longer than its lease @ 843.903260765385 # 9b4d480779af6e262a459dc8124ec9d5 | partition partial @ 1170.7273785922189 # 7365fbc105b103febc33c17240c1ad94 | crash by kill @ 1187.9842728067233 # c0721c1d2af36cc6ddbd6c5d58b3ba3e | crash by kill @ 1627.2667095772883 # e1e1487a4bbf9e6988a325307ef37365 | crash by kill @ 2187.554041001301 # 63e460636cfae69c1e0902353b19649f | partition partial @ 2194.925784047821 # ce3e7ce6d6e65b06917313c7361fe40b | crash by kill @ 2290.1457066638654 # cd2a73e17163520d8439be02dfbc8e6c | leader cut off @ 2915.1303295721323 # 3f485f8bd27683defb80510ae8675fe8 | all connections closed @ 3238.902158542483 # 47424bc2725968ad5046bc93b7c0a306 | leader cut off @ 3246.3640996183835 # f6f86754c675816514f530e8e01e0988 | leader cut off @ 3284.2682091572533 # ea9aea9931e50ad27835cd9c93fecb90 | crash by kill @ 3323.47700068031 # 9496c27ffe836a7b10c6989f5089426f | leader cut off, its successor crashes when it is back @ 3583.9204104316227 # ec3e6d4fee2cd697bbc59500be6e19cf | leader cut off @ 3714.3643109853174 # 76eeb69f1e4e3958c5a2cb32c2c98d2e | partition partial @ 3836.846722971486 # d62bcd0c983b5f2028fa14fe0aa8c2e3 | crash by kill @ 3900.8608970185037 # 1a7d79a4851047ca2c61e648d871630b | all connections closed @ 4834.461789557023 # 7383b24288b04ce10d45e0a42e2338f0 | leader alone for longer than its lease @ 7566.086615112249 # 42d5e2a14baadd6e30032dc5dab0eb09 | leader cut off @ 7876.8591263477665 # dbeefdc8277f45dae68030ceecf9b3bf | crash by kill @ 8260.375270235672 # 70d21f308f4b481284f95775e2a11408 | leader cut off @ 8592.176027763544 # db0e4501c0e96897bf3637f6ab256b39 | crash by kill @ 8983.367282575833 # fbb5fa9accd9eef507bc50808c4989ea | crash by kill @ 9174.00164916068 # 06ff788428b9b97ba1c53ef49de8718b | all connections closed @ 9545.595500514317 # 092d1f2bd77440aec9ab2816b950fccb | leader alone for longer than its lease @ 9571.228932253449 # 4d318462e8d1e8630137276c2ea81f3a | halves of a joint configuration cut off from each other @ 10559.916624648617 # 2868684b5dc363575d5a5967a5ed3c72 | crash by kill @ 10591.552549075523 # 5974eff13ea0bbbaa59a263361f485f1 | all connections closed @ 10886.966364712136 # fc75797326802e3c8bd9fe03b1457bdb',
  'a joint configuration gives a lease by the pledges of one half':
    '9 | linearizable reads | all | pause @ 29.874758600863448 # 877300bfe70a98e02839c38a83c5654c | event-loop stall @ 274.3220748996316 # 8a41a01d197de34d1c73f41d2cf6bb70 | clock rate changed @ 1423.8604501054172 # 25d594924a0cfde56ba87873a88a4bb5 | partition split @ 2320.6436052069635 # 1840eed5f45b36170199c7df6492e16d | event-loop stall @ 2548.324683167264 # fe412c67692bf1d0795d40e848808e65 | clock rate changed @ 2558.9579834841807 # 48f94f3eb95a0cdf85b5884ffe29c5ba | partition isolateOut @ 2577.6694552995245 # b1ae0a4fbc313e2767f636762f798817 | leader cut off from one after the other @ 2696.65715933059 # 2c7f64bc19cadb82e9e195dc17a39167 | disk fails syncs @ 2820.7989053516308 # 6734e8da5edb2b61c75c97ff893bbfb4 | clock rate changed @ 2958.683087573744 # 51b27cdc12d862dbc8f14b0873890329 | event-loop stall @ 7570.21748610484 # 0df156b7eb69f4a74c2b3378a4799327 | wall clock jumped @ 7734.887481801209 # 1537f8349dd7786410dbf79aa97b5057 | partition isolateOut @ 7809.398616901572 # 2e4b1c2ea39d4a4d3baa3091273dbeb9 | halves of a joint configuration cut off from each other @ 7861.46194079617 # 3591e4979efd5408488dfeaee3683e7e',
  'a joint configuration is left before it is committed':
    '3 | one change at a time | 1000 | all connections closed @ 634.9825840379211 # f3c197a6517d7040d05142260f29b067',
  'a late timer runs before the input that waits': '4 | stable leader | 250',
  'a leader at rest does not care for those who are awake':
    '4 | nothing is left to do at rest | 500 | crash by power cut @ 37.09970529509827 # 06318ae540c2791530aa2ba291da6798 | crash by power cut @ 409.14512971663845 # 3c9b3a3a63228d88df452007fda5a8c0',
  'a leader at rest with too few nodes does not wake up':
    '3 | isolated leader steps down | all | lost sync @ 465.4454615158354 # 7af08b9a4aa3c95668098f9ef16053cb | all connections closed @ 516.6968513264492 # 65730e57fcb47bc74573d545929c2287 | all connections closed @ 634.9825840379211 # f3c197a6517d7040d05142260f29b067 | leader alone for longer than its lease @ 843.903260765385 # 9b4d480779af6e262a459dc8124ec9d5 | lost sync @ 1154.5898288426986 # 5edcb68bb3c9d11a3a2272368078c2ef | partition partial @ 1170.7273785922189 # 7365fbc105b103febc33c17240c1ad94 | partition partial @ 2524.5118482691173 # 3caa823e225c7c410de771e2be6f9579 | leader cut off @ 2915.1303295721323 # 3f485f8bd27683defb80510ae8675fe8 | all connections closed @ 3238.902158542483 # 47424bc2725968ad5046bc93b7c0a306 | leader cut off @ 3246.3640996183835 # f6f86754c675816514f530e8e01e0988 | partition partial @ 3280.2336329327127 # ce3e7ce6d6e65b06917313c7361fe40b | leader cut off @ 3284.2682091572533 # ea9aea9931e50ad27835cd9c93fecb90 | lost sync @ 3378.1326933987307 # c515931fc1d915b7ff6b9472e2b35eba | leader cut off @ 3714.3643109853174 # 76eeb69f1e4e3958c5a2cb32c2c98d2e | leader cut off @ 4801.505088397912 # e854f5e6efb26f244ca3c7d6abf5f83c | all connections closed @ 4834.461789557023 # 7383b24288b04ce10d45e0a42e2338f0 | partition partial @ 4922.1545718563775 # ab537640836269e49bf7259a22af1174 | all connections closed @ 6078.004714410454 # a96ecedc62381793e0b0967516dfc825 | all connections closed @ 6235.400024872524 # 21407be82b37f75fd170bb9242f277cd | partition partial @ 6838.132928636429 # 27664d739a9a98a8e9f33d76732b87be | all connections closed @ 6923.0327200297925 # dea0d6b069f3b34e25196f54246b0b2a | leader alone for longer than its lease @ 7566.086615112249 # 42d5e2a14baadd6e30032dc5dab0eb09 | leader cut off @ 7876.8591263477665 # a2701d23110a424080fb3db19258a218 | leader cut off @ 8229.155145790508 # 740e2f91a2fa0038a41fda586349f626',
  'a leader counts on more than its followers have pledged':
    '3 | nobody votes against a lease | 4000 | leader cut off @ 2915.1303295721323 # 3f485f8bd27683defb80510ae8675fe8',
  'a leader makes way for voters of no higher priority':
    '2 | stable leader | 500 | partition isolateOut @ 424.6041230394671 # 463801fb82abee9af2965b61ccd14b57',
  'a leader once heard is protected for ever':
    '4 | liveness | 1000 | crash by power cut @ 128.62059224345288 # 06318ae540c2791530aa2ba291da6798 | partition isolateIn @ 377.04515455443 # 87a9f80068a1c80897d2254930523c25',
  'a leader overwrites the votes of its term: every candidate gets one': '1 | one vote a term | 500',
  'a leader that hears of no majority leads on':
    '3 | isolated leader steps down | 2000 | leader alone for longer than its lease @ 843.903260765385 # 9b4d480779af6e262a459dc8124ec9d5',
  'a leader that hears of one half of a joint configuration leads on': '1 | stable leader | 250',
  'a leader that lost its role keeps acting on acknowledgements': '2 | INVARIANT_VIOLATED | 4000',
  'a leader whose removal is committed goes on leading': '2 | removed leader steps down | 4000',
  'a leader yields to whoever has the higher priority, there or not, again and again':
    '5 | liveness | 1000 | bit rot @ 293.13240361909504 # 02ff797c595e21b3e67c2543a0f01357',
  'a learner gets a vote before it has the entry that added it':
    '1 | promoted replicas have caught up | 4000',
  'a learner that has kept up once counts as caught up for ever':
    '24 | promoted replicas have caught up | 8000 | partition isolateOut @ 871.5758921233728 # bb7dd6572258ab57c8c3d6ffb428c6ed | leader cut off as it hands over @ 1765.7547487158217 # d2edfad00694a4bc2d89920999673bb7 | partition isolateOut @ 5433.925208735187 # 1369860c3d49b79b4bf1912514adef95',
  'a lease begins when the answer comes in, not when the round was sent':
    '36 | nobody votes against a lease | 4000 | leader paused and cut off @ 1451.382173385348 # 9818e6542902049375adb1e7cf265bd5 | leader cut off @ 1928.0167253000773 # f7da8857e1efbe41a893aa61de283475 | leader cut off @ 2297.139891282827 # c77fe5cea053d0967e5374cbf67b2b0b',
  'a lease is read by before the first commit of the term': '1 | linearizable reads',
  'a lease outlives the message that hands leadership over': '3 | nobody votes against a lease | 250',
  'a machine that slept keeps its lease':
    '61 | linearizable reads | all | event-loop stall @ 150.51187172961787 # 95a683e6a2bb30b9918d30cc3f22d523 | partition isolate @ 237.84977882471748 # 9d45a6c1787b546a1a60587672e3e68c | machine suspended @ 248.95556144413194 # a36168ee78f6e7f4d5579640d6883042 | connection closed hint @ 525.7392958950069 # 9585f03aa2db26732d58e23f4008aed2 | connection closed hint @ 587.5905557026999 # 635da54b3c6445298900105eba6d6532 | event-loop stall @ 882.3873090932633 # 1261ac27eb1eb76e7a08ca1776383a94 | connection closed hint @ 1355.8651377391523 # 85eb5edb590e4e54ffb726e75217d867 | all connections closed @ 1367.7273201315152 # 8cc730d19f0f793141bcf80ca6eae5d9 | connection closed hint @ 1840.16497871842 # bb3240b1e9aa8d396377845786c0484e | lost sync @ 1897.6269756292272 # 05d78389983b8d3f06d07b83040ba094 | connection closed hint @ 2251.5697718126644 # ab752ea239188c06857e26f23dcd2d74 | event-loop stall @ 2423.093995639831 # 9a9664b4ec4c4d11da5eaea55bb81510 | event-loop stall @ 2569.858650834774 # 3c5c30f3e92e436615a19f55542f6895 | lost sync @ 2578.5020700613627 # 8f0a3d50a8b32c3a915525ff0a22712e | event-loop stall @ 2773.0714644080317 # ec97677b91f094b64768d25fb3feb09c | machine suspended @ 2849.941750535682 # 21d66ee05e6b47bc854aee08b24f7776 | leader cut off @ 2984.6820156328736 # e0416c89e82ad3b16d89f6ff841d9a30 | all connections closed @ 3013.1854465724664 # e52e204aeb5e57eed7938e180e85642e | leader cut off @ 3043.9807543816146 # 17a5955083d855a17dd78a54fa2d1456 | leader cut off @ 3096.527640747245 # 2a24f28a6c1f0489dcfe3dcaa16e9f99 | machine suspended @ 3175.4010160275293 # 8b4542064a9bab1ba7409de3e705266a | event-loop stall @ 3182.336261844305 # 6aeb5ba6f0abda5af709a5bdfbecdaf9 | partition isolate @ 3929.6239994525963 # 10277263b0ae8e5c6632ec04e80740ee | all connections closed @ 4010.890958121894 # 26a3b41ce64cb51bc80d91bfda8b1cf6 | machine suspended @ 4226.202622489651 # 320e6a8e9657824177d81a7115a57f20 | connection closed hint @ 4729.616222968009 # 16dfd33059517e3bc3d283ddae67b1b6 | machine suspended @ 5010.687981992433 # ea7e475db7e4f04172fff878429389c5 | connection closed hint @ 5124.161050561165 # 0f2addb386c2a228aea24f0925a1105c | machine suspended @ 5610.619489328956 # 229f4622b9c539b566dba0cc801925f8 | connection closed hint @ 5863.926938107627 # c07e9bb72114aee9ab81d25da80895fe | machine suspended @ 6111.600770578539 # bb8ea21779f73c68bf987809f26371e0 | all connections closed @ 6162.571554441731 # 8431b7abc53ec102333ceb1581e21d0b | event-loop stall @ 6278.868736392409 # 8122d04fe049a62ab2309ffb30ee8c30 | all connections closed @ 6565.8963928972735 # 9835a88d69df289e445a791a33759957 | all connections closed @ 6747.191628074362 # 4b9bded6f524f999c5449a08acf4ac4d | connection closed hint @ 6853.772247617667 # 6ca6f91dc832eae54e830b39c6314d0e | leader cut off @ 7219.771633827986 # 47eb4608171b4f921cbe7ab7f6caa9eb | leader cut off @ 7439.145775405475 # 9c75faf82061c7ddb455c3256b5b6155 | machine suspended @ 7694.486389673717 # 770e06d0c52728b1df923c5b124940ca | connection closed hint @ 7863.633268262331 # 91469a17eeced1817c75f46aea809216 | connection closed hint @ 8237.15147607289 # 5237f4f598a5b54191c92cdb7d237b1f | event-loop stall @ 8663.078043784666 # 3fff94caefd91da73824a01d428b9ffc | event-loop stall @ 8724.884542660062 # d592120ee46e8a922bf560b093347f31 | lost sync @ 8756.737122433318 # 5315c884f0f536d9ab82698c9677f124 | connection closed hint @ 8821.045683326922 # 46bb588a4797ac0650bfb20fd12a5b8b | event-loop stall @ 8949.917600936868 # ec53f76faae9235df7843de06c13123f | machine suspended @ 9156.777232298866 # 815b51e10bec461fcd6adfb3f1991db9 | connection closed hint @ 9179.149418304558 # 7597a8f8a702d63e7d8d1e6b51adf2c4 | leader cut off @ 9510.85722394887 # e0368c7ad23abd7b2ed69edef60e1f0b | partition isolate @ 9544.917339471682 # 2e6062ff05f09d07012701d5c40cc08a | leader cut off @ 9688.946891422554 # 097e64ae9c58dff7497fd4edf6c31e4b | connection closed hint @ 9966.373329688298 # 23db7065d8c37abe00c69101140ae016 | event-loop stall @ 9978.42085688006 # 57702c704dfd53323d02e46164ea06f2 | lost sync @ 10062.338556213359 # 13c103b2d60a89b81b0787513a6b2376 | leader cut off @ 10165.480722778808 # 9f4b0a99d30b450c4538675ac363ab9b | connection closed hint @ 10234.4312047056 # 0225f61aacf2e3973584a44579d74441',
  'a marked learner is promoted before it has caught up':
    '3 | promoted replicas have caught up | all | all connections closed @ 9545.595500514317 # 092d1f2bd77440aec9ab2816b950fccb',
  'a message that was lost counts as under way for ever':
    '1 | liveness | 4000 | leader cut off @ 1714.74458532084 # 4f96d1fd7a691c1fb7b4c600d76fdca8',
  'a node goes on pledging itself for a replica that was quarantined at rest':
    '1 | the quarantined promise nothing',
  'a node goes on pledging itself under an epoch that has ended, or of its former life':
    '89 | nobody votes against a lease | 4000 | leader cut off from all but one, which comes and goes @ 2807.0264016628944 # 1eb7504c198e7e5c9367ceb7a7f1c3cc',
  'a node votes in one group, and goes on pledging itself for it under the same epoch':
    '71 | nobody votes against a lease | 8000 | leader cut off from all but one, which comes and goes @ 4072.4640650086653 # 9b844f072e6fc699a0cd509ddcf6fa9c',
  'a pledge ends with its term':
    '8 | nobody votes against a lease | all | crash by power cut @ 4346.220789970181 # 2e2e3fc619a364a880b9328b90ce7534 | crash by power cut @ 8654.833815260676 # 61cbc1c31656551f50848bbbb563a62f | leader cut off from one after the other @ 9215.926825464248 # 813308de99099a9a40a914ea3fc4bd32 | connection closed hint @ 9497.24471615541 # ad3289eed0ca477283232b3ae8471b1f | leader cut off from one after the other @ 10782.641462028343 # 28bbe23f3dca4677b78470ceea1075cd | leader cut off from one after the other @ 11045.410549768925 # 952e58d3c2f56ad86b8ccea3ed9e8e17 | leader cut off @ 11277.473381207807 # 4ff18b311c17092730c7dcbb2fec630f',
  'a pre-candidate of a low term ignores the higher terms that it hears of':
    '9 | liveness | 4000 | hand-over to one that nobody hears @ 1498.8780724652017 # fb404e34e9fa2eaa57eaed9c23174632',
  'a promoted learner refuses to vote because it has not heard of its promotion':
    '21 | liveness | 1000 | halves of a joint configuration cut off from each other @ 653.9996467571787 # d5d057fad5eefe6c0c73db0ec5542a41 | swizzle-clog @ 720.9529841589392 # a0ffba826a14b4454c2d1457bd0b9d24',
  'a quarantined replica acknowledges the snapshot that was on its way to it':
    '8 | the quarantined promise nothing',
  'a quarantined replica says what it had promised before': '3 | the quarantined promise nothing',
  'a quorum that was heard of lately is enough to serve reads, by the time of receipt':
    '6 | linearizable reads | 8000 | leader paused and cut off @ 5065.7424732319005 # 93f50f24464ea1bc61fc30574006a870',
  'a read error is taken for the end of the log': '61 | liveness',
  'a read error is taken for the end of what is to be applied': '19 | state machine safety | 4000',
  'a record is believed wherever it stands':
    '3 | log matching | 4000 | all connections closed @ 634.9825840379211 # f3c197a6517d7040d05142260f29b067 | misdirected write @ 3130.426442767913 # 6c4426f58c7c94c3938e54775f711870',
  'a refusal takes back what was committed':
    '55 | commit never regresses | 1000 | disk wiped @ 2.727064370434366 # a129f1b889cc05fccacbdf4569f1b9bf',
  'a replica at rest is not woken when the node of its leader is gone': '3 | nothing is left to do at rest',
  'a replica goes to rest with another log than its leader': '1 | nothing is left to do at rest | 250',
  'a replica is free to vote as soon as something wakes it':
    '74 | nobody votes against a lease | 8000 | leader cut off from one after the other @ 2919.764124537757 # 41b613326236de7ab2ee9e6512c08e87',
  'a replica that starts again does not keep the pledges of its former life':
    '3 | nobody votes against a lease | 4000 | followers crash while the leader is cut off @ 3027.7556894190375 # 93db7bb9ece68d84545de2fb1a7ce7a5',
  'a replica that starts with a shorter lease keeps no longer pledge of its former life':
    '1 | nobody votes against a lease',
  'a replica votes although its node has pledged itself for it':
    '10 | nobody votes against a lease | 4000 | partition partial @ 2412.758934575301 # 2491138e60974935ffb25bab635393b0',
  'a replica votes for itself in spite of its pledge':
    '3 | nobody votes against a lease | 4000 | all connections closed @ 634.9825840379211 # f3c197a6517d7040d05142260f29b067 | leader cut off from one after the other @ 1130.0899389075391 # dca6a89c875c17d5ca21d30e317cec8a | leader cut off from one after the other @ 1859.38784857585 # 5b80b68c7de6d66d26f31bfed90489c5',
  'a replica whose disk forgot what it acknowledged is believed':
    '46 | liveness | 2000 | lost sync @ 1234.33039328391 # ba6a1ad4314e2db88ed838b8ec689ec4',
  'a restart forgets the term and the vote': '1 | one vote a term | 250',
  'a snapshot carries the membership of the bootstrap': '2 | configuration of the log | 2000',
  'a snapshot leaves out the client sessions': '2 | states are equal | 1000',
  'a snapshot leaves the configuration as it was':
    '2 | configuration of the log | 4000 | connection closed hint @ 944.5652674347493 # 34a1866932c7cfebc270c00bb2821da5 | swizzle-clog @ 1229.4951911699052 # 1b0a5f5c2e1df5edd1bdfb3720b55bb1 | wall clock jumped @ 2150.7970503952442 # eed8175af05880f4965e442b811ae243 | swizzle-clog @ 2367.0782049534014 # 42b159f7f5c8d3bf33f62f9407a7f2a8 | wall clock jumped @ 2397.720168418543 # eebda5d624f6fb74b5cbfe82d38e3d2e | wall clock jumped @ 2521.88935698483 # 4078df40c3b2342c23d8a5ae1fc4dc47 | swizzle-clog @ 2554.0669381240896 # 11401cbeb671e4d42954a08fc7536263 | connection closed hint @ 2562.4087965720582 # f17118c4f0adc67a542f7ce667b7423e | partition isolate @ 2655.7041444401543 # da3acb003fdee4183d5f432c514a23a4 | campaign without need @ 2744.7837396660443 # 98f6459ed1bdf5cfeb9a0de4137e9d04 | connection closed hint @ 3449.7142873212542 # d108cdf4be80b35835844e34ef95ae5b',
  'a stale append truncates': '6 | committed is durable on a majority | 500',
  'a transfer that fails freezes writes': '1 | liveness',
  'a truncated configuration stays in force':
    '51 | configuration of the log | 8000 | changes of two leaders @ 1503.9024115106436 # 8d0ba69ef2a8e8ac411393b6b9c2d6f3 | changes of two leaders @ 2397.9794641883436 # 1db5bd32884d9e642eb0c0fe8689de05 | partition ring @ 2473.6349317108275 # 0e62585c6dc092bd5560aeda961d93c8 | crash of several @ 3952.7840403686982 # 3e70df41eedc404fbd63a2cedb2774a5',
  'a wiped disk comes back as the replica that it was':
    '3 | one vote a term | all | all connections closed @ 634.9825840379211 # f3c197a6517d7040d05142260f29b067 | all connections closed @ 3238.902158542483 # 47424bc2725968ad5046bc93b7c0a306 | lost sync @ 3908.7023280951507 # 85b1442d90107a89a7bcc588168d8737',
  'acknowledgements of an earlier term count':
    '71 | committed is durable on a majority | 4000 | leader cut off with one other leads again @ 1821.5362902062454 # b4b8593ab77637a7ef6096c0d543de7c',
  'an append is taken although what precedes it does not match':
    '22 | log matching | 4000 | leader cut off @ 426.0869045364647 # 1c7b669755fd8f058fff0397ac3b936e | leader cut off as it hands over @ 1352.4433776575418 # b2f327cd99566dc964c902db3692ab2c | old disk restored @ 1523.059780358053 # 7d8c80684df32f9f08ccbf2f194eab58 | partition oneWay @ 1912.6409924828552 # cd8790552953edcad15875270307372c | partition oneWay @ 2458.4441272154345 # 38d753e2631e449478a39d5c9807125d',
  'an empty replica keeps the id that awakened it': '10 | liveness | 1000',
  'an outgoing voter counts as removed before the joint configuration is left':
    '8 | liveness | all | halves of a joint configuration cut off from each other @ 522.4285162935199 # 13110fb55bd88f2206afc81ac0f8b523 | crash by kill @ 571.7263282134048 # 1b8059496ef79e92d26e9341f8dd1bcb | crash by kill @ 619.360250561981 # 81fab14e986ba9dd75594106d6c403fb | crash by kill @ 626.1072592740823 # d82e7037b12468128682fdba2202388a | leader cut off @ 918.8457141595387 # 8c5485abb2575dde770fbc515667c298 | leader cut off @ 1223.7529033282885 # a56e98cb0d62f2df8344185b9b2c9ab7 | leader cut off @ 1385.0512904682525 # d3bfa942c4d8697235adda8051457519 | crash by power cut @ 2598.1358495289055 # 967fa948e0f949e8cd1a902123f9eab3 | leader cut off, its successor crashes when it is back @ 2794.611861851739 # fefed292cb6e9663b96f6747361e25ba | crash by kill @ 3213.495458796665 # 7d7e94d907ff1d44ff4e9c27eb44e208 | crash by power cut @ 3758.1513207840685 # b0d22ffb40316fa19e4dce5769a2a43c | crash by power cut @ 4346.220789970181 # 2e2e3fc619a364a880b9328b90ce7534 | leader cut off, its successor crashes when it is back @ 5717.3851190992855 # 39e1c119b304753f0e248dcfce02932d | leader cut off @ 5765.653151429623 # 860b3ec6cd9b96b98616acb23c78ad53 | crash by kill @ 7644.045466899663 # 5b9d6c79fd2636a7026761f1196a2f8d | crash by power cut @ 7732.382181668194 # 5ef5f97d9d4a18855656f3cc0c7e9bd5 | crash by kill @ 7801.367295212291 # fc61712e7154426b4e921e71dbb9935e | halves of a joint configuration cut off from each other @ 13394.655127802387 # 5193c247013c7cc4c871df7215f687ff | crash by kill @ 13585.149395589966 # 9150c7c404697819dd921f8e12a90538',
  'answers from before a replica was woken say that it rests': '6 | nothing is left to do at rest | 4000',
  'bytes in flight are never given back': '1 | liveness | 250',
  'commands are applied again when they are repeated': '2 | linearizability | 8000',
  'completions of writes that come late take back the progress of earlier ones':
    '1 | applied is committed and durable | 250',
  'entries are applied before they are durable': '1 | applied is committed and durable | 250',
  'entries of earlier terms are committed by counting':
    '4 | direct commit only of own term | 1000 | partition isolateIn @ 377.04515455443 # 87a9f80068a1c80897d2254930523c25',
  'every survivor of a lost quorum writes the configuration at the end of its own log':
    '14 | configurations overlap | 500',
  'fetched entries are sent although the log changed':
    '5 | log matching | 500 | bit rot @ 293.13240361909504 # 02ff797c595e21b3e67c2543a0f01357',
  'heartbeats commit what the follower was never proven to have':
    '22 | state machine safety | 1000 | leader cut off @ 426.0869045364647 # 1c7b669755fd8f058fff0397ac3b936e',
  'ids that were minted beyond the end of the log are minted again':
    '71 | INVARIANT_VIOLATED | 4000 | crash by kill @ 587.6644963974229 # d722e6db3e66554448917402068babf7 | crash by kill @ 2100.0269507576536 # 0407848715d6a137b94500b31bf10101',
  'learners count':
    '2 | committed is durable on a majority | 2000 | partition isolate @ 733.9583597101172 # 6e40d8cc13746edde79e62e6bd49c67c | lost sync @ 760.991630853365 # 430d564130bc8f7516e0a2cdb78140b1',
  'logs are compared by index before term':
    '2 | leader completeness | 8000 | leader forgotten @ 185.95511462303008 # c1446aa91a24a5ab8807b316dcde4019 | partition isolateOut @ 424.6041230394671 # 463801fb82abee9af2965b61ccd14b57 | partition isolate @ 733.9583597101172 # 6e40d8cc13746edde79e62e6bd49c67c | lost sync @ 760.991630853365 # 430d564130bc8f7516e0a2cdb78140b1 | lost sync @ 763.9297775450257 # cad5155b874b399078709ec711b6bb6e | partition isolate @ 792.7681983997153 # d9199d2d5377f3c3a7313e1b91f01323 | lost sync @ 812.187619065263 # 59d31ca1509ad6f1c4fc1d2cd06c0cbb | connection closed hint @ 944.5652674347493 # 34a1866932c7cfebc270c00bb2821da5 | wall clock jumped @ 2150.7970503952442 # eed8175af05880f4965e442b811ae243 | leader cut off @ 2224.9213108140866 # f3b4266a01a49587d71707b9d4392d36 | leader cut off @ 2297.755687841297 # c85f64c555eea4e1a7a97a239e820a19 | wall clock jumped @ 2397.720168418543 # eebda5d624f6fb74b5cbfe82d38e3d2e | leader cut off, its successor crashes when it is back @ 2426.503138279336 # 4a53e6604d50b3d8dc3d3283a6d7176a | wall clock jumped @ 2521.88935698483 # 4078df40c3b2342c23d8a5ae1fc4dc47 | connection closed hint @ 2562.4087965720582 # f17118c4f0adc67a542f7ce667b7423e | lost sync @ 2617.39719611627 # bcc29a3d2b9c2aa668d1be63de8d2cfe | partition isolate @ 2655.7041444401543 # da3acb003fdee4183d5f432c514a23a4 | swizzle-clog @ 2682.546230736112 # cd1960425a5c12b6842fd8df80f4dffd | leader cut off @ 2684.998384562907 # 76218dee8f5dde894f155f4c145fe9c2 | campaign without need @ 2744.7837396660443 # 98f6459ed1bdf5cfeb9a0de4137e9d04 | leader cut off @ 3169.450130437469 # f2d069a7ff20cb6dca7e1e33aaed1369 | lost sync @ 3213.866236764474 # 68da515dce5b18c57a7e892c8848870f | swizzle-clog @ 3385.704944303294 # 5d79ae7316e5469a354f6f02c325da6b | connection closed hint @ 3449.7142873212542 # d108cdf4be80b35835844e34ef95ae5b | leader forgotten @ 3730.4863541129725 # 6f9378875820107128a9b1c7ea2f67ce | wall clock jumped @ 3742.7954651914433 # 3136a2ca733f327ed63cb61a647bdb50 | wall clock jumped @ 3858.750941319604 # 36b4136608f9f215abd7493198b41bd6 | connection closed hint @ 4227.288321615848 # f873a014fc5e720bd3b3ed62f1425b99 | partition isolate @ 4315.6510053309285 # 558c34e88446d52edf49b1e1c0f55c57 | leader cut off @ 4403.110245529872 # 99c42a6b450d6ffaaf3a96ce64db25cf | partition isolate @ 4413.717724029276 # 80d49c135853b03f93ce51149032a708 | all connections closed @ 4452.022164505867 # 2991e20d1f93d623ace5f5fc9df627dc | leader cut off @ 4623.593725565753 # 1fa60df29995d0a48e745ca2f02aa230 | lost sync @ 4887.552611846668 # 5f0544b8bc2983dcf6ca0db654bbd701 | lost sync @ 4906.273897818403 # 3d7edcc7b6f213bf2a1f99033d758c8e | leader alone for longer than its lease @ 4922.088722453335 # cd42acb9fd353c176729d4b1cb734828 | disk stall @ 5024.565635450746 # 4cfc7845a9549f6b2f02102934440959 | wall clock jumped @ 5151.649877109755 # 96189cd0605903fcd029135c8fc527ff | lost sync @ 5357.537817528599 # e6486fd22858396f10453b8b00ac3ebb | lost sync @ 5420.809542826687 # 4367d0a6620dee885aa44822de5d55b9 | lost sync @ 5701.873305430424 # 7fd2221b1e83062203b2597dbf7d85d9 | connection closed hint @ 5711.033572817558 # 25365bba5a50cc8c07ec55d407eafcea | leader cut off @ 5736.011804000897 # 0f429b795da4375fe9fe2235d1c339ae | connection closed hint @ 5819.481322730144 # f14a09fb482489c4398cf87ebfb38c63 | lost sync @ 5832.77702398066 # d5aacf3d331e4c2501ee03e69b102138 | connection closed hint @ 5905.540415653671 # aa7ec2f69f9e83ca2e4d8e0c3616b266 | partition isolateOut @ 5907.128005012882 # 449223c2ff1af20d51deca4da764255e | leader forgotten @ 5929.2943851351165 # 3ad716bfa0698d0c26f428474ec09e97 | leader forgotten @ 6019.65046560365 # 9c3b766e63c320f2a3d3147ac334fd7b | connection closed hint @ 6611.910618118943 # 3dd3853357bc01974187b85e09246cc5 | leader cut off, its successor crashes when it is back @ 6652.116546112682 # 222217f5bbecb0ab771f58c9cf0e94ac | lost sync @ 6778.267323944203 # d882bf8deb50235a769a3b6a1e9f4350 | campaign without need @ 6822.011399431698 # ca77aa355b32d31ff0496f2149b9df38 | swizzle-clog @ 6852.4902706689545 # fb855d7cc884a7b7bbb54c37b4b0b59b | connection closed hint @ 6879.653519099476 # 46445453917a9a17ac624aae0e04cafc | leader alone for longer than its lease @ 7078.433099017941 # 5f7f6f24f1832c0cdf905b38055dca89 | connection closed hint @ 7265.996621664571 # 40cf3cd913a41ab29e07293822df62d0 | rolling restart @ 7415.788339481374 # fcc88c20a07a9b9316f543799ef01462 | all connections closed @ 7533.6867226173235 # ab323d39c8758198731a08795ceb833c',
  'lost members that come back are not told': '3 | lost members stay lost | 250',
  'marked learners stay learners': '2 | liveness | 1000',
  'messages do not wait for the write that they promise': '1 | promises are durable | 250',
  'messages of a replica are taken from any node':
    '21 | one vote a term | 500 | partition isolate @ 74.12270300385016 # 8de319bde6eac8cfb8a9c1cf01c6f69f | disk wiped @ 370.8243577594028 # ac7b2cd986ebd081f562dfd9782df8ad',
  'one pledge makes a lease':
    '11 | linearizable reads | 2000 | leader alone for longer than its lease @ 640.4600359324818 # 71a2c6bfc955dccdbf11f4b28a83096a',
  'only a voter of the highest priority campaigns': '4 | liveness | 250',
  'only the leader that entered a joint configuration leaves it':
    '8 | liveness | all | crash by power cut @ 10133.857846084682 # 79f87f9dee4d131d3017d13206b9c353 | leader cut off @ 10166.774730763529 # 4ff18b311c17092730c7dcbb2fec630f | crash by kill @ 10167.754583860838 # a943d871a104358f18c61d34a0977d61 | leader cut off @ 10201.12642666989 # ff913756087d8384b2c4ee256399d190 | crash by kill @ 10444.711417747723 # 3ca4fff6b0af496b932604f770baa667 | crash by kill @ 11030.908000912785 # 420d36cede28de2bb7986d49dbffbeb0 | crash by kill @ 11381.677782165976 # b887432733f61fce2e1282f720dddb64',
  'promises leave before they are durable': '1 | promises are durable | 250',
  'promises wait for the oldest write under way, not the last': '2 | promises are durable | 250',
  'reads are served before the first commit of the term':
    '4 | linearizable reads | 2000 | crash by power cut @ 128.62059224345288 # 06318ae540c2791530aa2ba291da6798 | partition isolateIn @ 377.04515455443 # 87a9f80068a1c80897d2254930523c25 | partition isolateIn @ 1194.4735226064277 # 2df638f2b3f28bcc4c4e5cc0592644d6',
  'reads are served before what they must see is applied': '3 | linearizability | 250',
  'reads are served without a confirmed round':
    '3 | linearizable reads | 2000 | leader alone for longer than its lease @ 843.903260765385 # 9b4d480779af6e262a459dc8124ec9d5',
  'recovery generations are not compared': '1 | configurations overlap | 250',
  'removed replicas are listened to, and leaders are not protected': '3 | stable leader | 250',
  'rounds of heartbeats are used again':
    '3 | linearizable reads | 2000 | all connections closed @ 634.9825840379211 # f3c197a6517d7040d05142260f29b067 | leader alone for longer than its lease @ 843.903260765385 # 9b4d480779af6e262a459dc8124ec9d5',
  'snapshots are installed without the reset of the log': '2 | INVALID_ARGUMENT | 2000',
  'stepping down clears the vote':
    '1 | one vote a term | 2000 | leader cut off @ 1072.8501373017702 # 1567b7b02f6329115fddcd20d1cab7ed',
  'the applied index is not atomic with the state': '1 | states are equal | 250',
  'the command of a session that is gone is taken for a new one': '1 | linearizability | 2000',
  'the drift of clocks is not allowed for':
    '90 | nobody votes against a lease | 4000 | slow clock of a leader that is cut off @ 1527.9194404994407 # 1566057d0f0634b0a90ead061daa14ef',
  'the hard state is not written before a request for votes': '1 | promises are durable | 250',
  'the leader counts itself before its write is durable': '3 | committed is durable on a majority | 250',
  'the log is compacted although the state was not flushed':
    '19 | simulation | 8000 | partition bridge @ 58.63382172309561 # 79682ad201c0b66a86acf47e6ef73112 | event-loop stall @ 234.92113690782028 # f97882179936d0c6c59e26ef989047c2 | disk stall @ 246.77651939353433 # b3efa79acc1e8fe665e53df2f40c1616 | swizzle-clog @ 425.43666104254294 # 0d5c0552f96bfcd58368e9a792224b09 | partition oneWay @ 448.08609817977305 # 62cd21d830396820e3bfe1bf300188e2 | partition oneWay @ 496.9793646156537 # a3ebd4cfd2f2ed17a7a95544d9cf9146 | leader forgotten @ 1969.3631840508042 # f7c51d01d7f0a9243d913f899e77f7df | disk full @ 2097.2497795574454 # 9dadaceaae4635577074183be38aa3d1 | leader paused and cut off @ 2137.4990675180925 # 817d82c6e886aea6096ea653256975b9 | event-loop stall @ 2166.0992909818424 # 0ce20ff8545d36df6770d9a98a9c84d5 | leader cut off from one after the other @ 2271.6498354883743 # 0e9700f907f27e18a21ac78579994b97 | leader forgotten @ 2872.821308412293 # 0a0f0de5a73ca3421c80a252e97fcf36 | event-loop stall @ 2926.5949282401525 # 48a0113d95638c0278e6f53a31e93d6a | event-loop stall @ 2968.4456749195 # 0fb17db1e062703ca88310e3be1be2d1 | event-loop stall @ 3075.893919053119 # 3da9f7773cae507cb4680c248fca2f1b | pause @ 3076.832962978077 # efadf68f0e6c2c9cfcfe5fc540c95ba7 | pause @ 3094.357176689071 # 1c1ce4fd1bc1b03fae9b400187f14239 | leader cut off, its successor crashes when it is back @ 3178.1663345869047 # a0c1a38f143557cd3a0b7324133b61ab | partition ring @ 3458.2328177741642 # a860e13b58e8c6db4db274d6d6e5120e | wall clock jumped @ 4275.87731226921 # 7a8fb9b053440be0c99aa3bd95d063e1 | crash of all @ 4367.433024051403 # 2c6c7595a85f648ec2945e01e4bb0c9f | slow link @ 4491.683898821035 # 4621462f5875dceae92590847785442d | swizzle-clog @ 4602.751781238259 # 654e19f4fb95193f1cba20908204f352',
  'the log store acknowledges before its sync':
    '4 | promises are durable | 500 | crash by power cut @ 128.62059224345288 # 06318ae540c2791530aa2ba291da6798',
  'the own vote counts twice':
    '2 | election safety | 1000 | partition isolateOut @ 424.6041230394671 # 463801fb82abee9af2965b61ccd14b57',
  'the pledge of a node is counted from when its answer comes in':
    '37 | linearizable reads | 4000 | leader paused and cut off @ 869.472425083148 # 018a417079d0f5bf6d9254dd59a9a25b | pause @ 1387.4577778106852 # 118ffeeea9682916ad17c7161f17f028 | leader paused and cut off @ 1869.9238594303308 # 0120648c556700d4931ab0eef9568fb6',
  'the quorum index is the highest, not the majority': '1 | committed is durable on a majority | 250',
  'the quorum index sorts numbers as text': '1 | committed is durable on a majority | 250',
  'the vote is not written with the term': '1 | promises are durable | 250',
  'the wall clock measures the lease':
    '44 | nobody votes against a lease | 4000 | leader cut off @ 1562.1525234139776 # b277b1abbd9ba500fe9d79f49eae4330 | wall clock jumped @ 2254.8457223194646 # f9685178303c0ffb62e0bcd95b98fb04',
  'two changes are under way at once': '29 | one change at a time | 2000',
  'two voters change at once': '2 | configurations overlap | 2000',
  'voters of low priority wait for the others although nobody leads': '26 | liveness | 1000',
  'votes are given in spite of a pledge':
    '1 | nobody votes against a lease | 2000 | leader cut off @ 1109.9479927323869 # bf3bd0a90a0f74c71c59d5a0ab15bca6',
  'votes go to any log':
    '5 | promises are durable | 8000 | bit rot @ 293.13240361909504 # 02ff797c595e21b3e67c2543a0f01357 | partition isolateIn @ 643.5219616926527 # d55bd10cac4e2cac8d64938e4e164f71 | partition isolateIn @ 2238.518828392941 # 595a9a032669e193190b2f7323ef2d07 | leader alone for longer than its lease @ 2310.577488500366 # 2ef9e373e0702d4cc3ffba32e1154d73',
  'what a node pledges counts for replicas that do not rest under it':
    '61 | nobody votes against a lease | 4000 | partition isolate @ 237.84977882471748 # 9d45a6c1787b546a1a60587672e3e68c | event-loop stall @ 882.3873090932633 # 1261ac27eb1eb76e7a08ca1776383a94 | leader cut off from one after the other @ 2343.493201543062 # 53d5c5fdfbc328f77f1d405518a5b93c',
  'what other nodes know of a disk is compared with what it has written since it started':
    '3 | forgetful disks are found out',
  'what other nodes know of a disk is not compared with it':
    '3 | forgetful disks are found out | 4000 | leader alone for longer than its lease @ 843.903260765385 # 9b4d480779af6e262a459dc8124ec9d5 | old disk restored @ 2281.8443309321374 # 523bebea77071bfde06a22182d1bd564 | leader cut off @ 3284.2682091572533 # ea9aea9931e50ad27835cd9c93fecb90',
  'what waited to be applied is applied over a snapshot, with its old configuration':
    '226 | states are equal',
  'who speaks in an old term is never told of the new one':
    '76 | liveness | all | disk fails syncs @ 981.3639803497858 # 9a3f63fdb8cbf0fa6d5b158eba637a01 | leader cut off, its successor crashes when it is back @ 2120.293946938873 # f2814176adc656f89d07188d200cef2a | wall clock jumped @ 2211.445931018187 # 8249db3097eb3dd7bd7ed1f15a16a765 | partition ring @ 2404.7752817745304 # a105837d3c3116ac3d7125211a1ec4c7 | partition ring @ 4033.060656329554 # 4a0db4f0f9f192bbb43d496022138471 | leader cut off as it hands over @ 4251.630412838978 # 704495208cf0f412b184963bd88893d9 | frames of long ago arrive once more @ 4819.764916871904 # 2a7329715b46338f7b50a0286c8e9a06 | wall clock jumped @ 5068.384709422999 # b06a4988e41c3f719fcf16a2f014ecce | leader cut off as it hands over @ 7141.105168185086 # 1fb2bdbd1df345c1d6de783ead67f54a | partition ring @ 7242.82722597208 # ce03b3f2a1dcbd24195243ca8dc4b88e | lost sync @ 7330.732445962917 # 86c15d5ec85416db097f66b2ebdd6a69 | leader cut off as it hands over @ 7899.42440290772 # 0e97683abcb4365a61820a85f53b1625 | leader cut off as it hands over @ 9251.379937082505 # 7f3a08a4c27e995366b06267d904038e | all connections closed @ 10664.629145002435 # fbbc16dd31b044e9317e5ad240fe764f | leader cut off, its successor crashes when it is back @ 10781.479207498152 # d157cfd897003b2c43f40352dd4c0efc',
  'whoever asks for votes takes the protection of all groups at rest away from their leader':
    '7 | stable leader | 250',
  'writes become durable in any order':
    '9 | promises are durable | 1000 | event-loop stall @ 274.3220748996316 # 8a41a01d197de34d1c73f41d2cf6bb70',
}
